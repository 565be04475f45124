"""A cut that moves with the nuisances, so that the background efficiency stays where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve1d, distance_transform_edt
from scipy.spatial import KDTree

from hepcalib.calibration.sample_location import sample_quantiles
from hepcalib.decorrelation.decorrelator import (
    Decorrelator,
    background,
    levels,
    require_mass_first,
)
from hepcalib.exceptions import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["FixedEfficiencyMap"]

METHODS = ("neighbours", "bins")
_CLOSE = 1e-9  # of the spread: a distance that counts as none


@dataclass(frozen=True, eq=False, kw_only=True)
class FixedEfficiencyMap(Decorrelator):
    r"""The score less the cut that has a fixed background efficiency at these nuisances.

    .. math:: s' = s - q_{1-\epsilon}(x), \quad P(s > q_{1-\epsilon}(x) | x) = \epsilon

    The percentile q is found in bins of one or two coordinates x and interpolated: as the mean of
    the nearest bins, weighted by the inverse distance in units of the coordinates' spread, or
    linearly between the centres of the bins, after each was averaged with its neighbours (1-2-1).
    At other efficiencies than epsilon the new score may still depend on the nuisances. With a mass
    and a transverse momentum as nuisances and `logarithmic`, the coordinates are
    :math:`\ln(m^2 / p_T^2)` and :math:`p_T`.

    Reference: ATL-PHYS-PUB-2018-014 (20 x 20 bins, 5 neighbours, epsilon = 16 % for D2).

    Args:
        efficiency: Background efficiency epsilon.
        method: "neighbours" or "bins".
        logarithmic: Whether the first coordinate is ln(m^2 / pt^2).
        centres: Centres of the bins of each coordinate (variables, bins).
        cuts: Percentile of each cell (bins,) or (bins, bins); of empty ones, that of the nearest.
        filled: 1 for cells with enough jets, 0 for the others; as cuts.
        scale: Spread of each coordinate (variables,).
        neighbours: Number of bins that are averaged.
    """

    efficiency: float
    method: str
    logarithmic: bool
    centres: Floats
    cuts: Floats
    filled: Floats
    scale: Floats
    neighbours: int

    @classmethod
    def fit(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        *,
        weight: ArrayLike | None = None,
        efficiency: float = 0.16,
        method: Literal["neighbours", "bins"] = "neighbours",
        bins: int = 20,
        neighbours: int = 5,
        minimum_entries: int = 20,
        logarithmic: bool | None = None,
    ) -> Self:
        """Find the percentiles of background jets.

        Args:
            score: Scores (rows,).
            nuisances: One or two variables (rows,); mass and transverse momentum [GeV] in this
                order if logarithmic.
            weight: Event weights (rows,), not negative.
            efficiency: Background efficiency in (0, 1).
            method: "neighbours" or "bins".
            bins: Bins of equal width of each coordinate.
            neighbours: Number of bins that are averaged.
            minimum_entries: Jets that a bin needs to count.
            logarithmic: Whether the first coordinate is ln(m^2 / pt^2); None: if the second of two
                nuisances is named pt.

        Raises:
            ConfigError: if an option is out of range, or if logarithmic and the first nuisance is
                named pt.
            DataError: if no bin has enough jets, or as for `background`.
        """
        sample = background(score, nuisances, weight, where="fixed efficiency")
        scaled = [*nuisances][1:] == ["pt"] if logarithmic is None else logarithmic
        _check(efficiency, method, bins, neighbours, two=len(nuisances) == 2, scaled=scaled)
        if scaled:
            require_mass_first(nuisances, where="fixed efficiency")
        at = _coordinates(sample.values, scaled)
        centres, cuts, filled = _percentiles(
            sample.score, at, sample.weight, share=1 - efficiency, bins=bins, least=minimum_entries
        )
        spread = at.std(axis=0)
        cuts = _without_holes(cuts, filled)
        made = cls(
            variables=tuple(nuisances),
            ranges=sample.ranges,
            table=np.zeros(0),
            efficiency=efficiency,
            method=method,
            logarithmic=scaled,
            centres=centres,
            cuts=_smoothed(cuts) if method == "bins" else cuts,
            filled=filled.astype(np.float64),
            scale=np.where(spread > 0, spread, 1.0),
            neighbours=min(neighbours, int(filled.sum())),
        )
        moved = made.values(sample.score, sample.values)
        return replace(made, table=levels(moved, sample.weight))

    def require_whole(self) -> None:
        """Refuse a table of other sizes than its coordinates, or too many neighbours."""
        super().require_whole()
        shape = (self.centres.shape[-1],) * len(self.variables) if self.centres.ndim == 2 else ()
        filled = int((self.filled > 0).sum())
        if (
            not shape
            or self.centres.shape != (len(shape), shape[0])
            or not self.cuts.shape == self.filled.shape == shape
            or self.scale.shape != (len(shape),)
            or not (self.scale > 0).all()
            or not 1 <= self.neighbours <= filled
        ):
            msg = (
                f"FixedEfficiencyMap: centres {self.centres.shape}, cuts {self.cuts.shape}, filled "
                f"{self.filled.shape} with {filled} cells, scale {self.scale}, neighbours "
                f"{self.neighbours}; needed: a cell for each pair of centres, neighbours among them"
            )
            raise ConfigError(msg)

    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return s', (rows,)."""
        return np.asarray(score - self.cut(nuisances))

    def cut(self, nuisances: Floats) -> Floats:
        """Return the cut on the score that has the efficiency, (rows, variables) -> (rows,)."""
        at = _coordinates(nuisances, self.logarithmic)
        if self.method == "bins":
            inside = np.clip(at, self.centres[:, 0], self.centres[:, -1])
            if self.centres.shape[1] == 1:
                return np.full(len(at), self.cuts.ravel()[0])
            return np.asarray(RegularGridInterpolator(tuple(self.centres), self.cuts)(inside))
        points = np.stack(np.meshgrid(*self.centres, indexing="ij"), axis=-1)[self.filled > 0]
        distance, cell = KDTree(points / self.scale).query(
            at / self.scale, k=list(range(1, self.neighbours + 1))
        )
        share = 1.0 / np.maximum(distance, _CLOSE)
        share /= share.sum(axis=1, keepdims=True)
        return np.asarray((share * self.cuts[self.filled > 0][cell]).sum(axis=1))


def _check(
    efficiency: float, method: str, bins: int, neighbours: int, *, two: bool, scaled: bool
) -> None:
    if method not in METHODS or not 0.0 < efficiency < 1.0 or min(bins, neighbours) < 1:
        msg = (
            f"fixed efficiency: efficiency {efficiency}, method '{method}', bins {bins}, "
            f"neighbours {neighbours}; needed: inside (0, 1), {' or '.join(METHODS)}, at least 1"
        )
        raise ConfigError(msg)
    if scaled and not two:
        msg = "fixed efficiency: logarithmic needs two nuisances, mass and transverse momentum"
        raise ConfigError(msg)


def _coordinates(values: Floats, scaled: bool) -> Floats:
    if not scaled:
        return values
    if (values <= 0).any():
        row = int((values <= 0).any(axis=1).argmax())
        msg = f"fixed efficiency: mass and pt {values[row].tolist()} GeV; needed: positive"
        raise DataError(msg)
    return np.stack([2.0 * np.log(values[:, 0] / values[:, 1]), values[:, 1]], axis=1)


def _percentiles(
    score: Floats, at: Floats, weight: Floats, *, share: float, bins: int, least: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the centres, the percentile of each cell, and which cells have enough jets."""
    low, high = at.min(axis=0), at.max(axis=0)
    edges = np.linspace(low, np.where(high > low, high, low + 1.0), bins + 1, axis=1)
    number = [
        np.clip(np.searchsorted(own, column, side="right") - 1, 0, bins - 1)
        for own, column in zip(edges, at.T, strict=True)
    ]
    shape = (bins,) * len(edges)
    cell = np.ravel_multi_index(number, shape)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(bins ** len(edges) + 1))
    cuts = np.zeros(shape)
    filled = np.zeros(shape, dtype=bool)
    for index in np.flatnonzero(np.diff(starts) >= least):
        rows = order[starts[index] : starts[index + 1]]
        cuts.flat[index] = sample_quantiles(score[rows], [share], weight=weight[rows])[0]
        filled.flat[index] = True
    if not filled.any():
        msg = f"fixed efficiency: none of {filled.size} bins has {least} jets; use fewer bins"
        raise DataError(msg)
    return 0.5 * (edges[:, 1:] + edges[:, :-1]), cuts, filled


def _without_holes(cuts: Floats, filled: NDArray[np.bool_]) -> Floats:
    """Give each empty cell the percentile of the nearest one that is not."""
    nearest = distance_transform_edt(~filled, return_distances=False, return_indices=True)
    return np.asarray(cuts[tuple(nearest)])


def _smoothed(cuts: Floats) -> Floats:
    for axis in range(cuts.ndim):
        cuts = convolve1d(cuts, np.array([0.25, 0.5, 0.25]), axis=axis, mode="nearest")
    return np.asarray(cuts)
