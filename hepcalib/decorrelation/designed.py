"""Designed decorrelation: a straight line in rho is taken from the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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

__all__ = ["DesignedDecorrelation", "scaled_mass"]


def scaled_mass(mass: ArrayLike, pt: ArrayLike) -> Floats:
    r"""Return :math:`\rho' = \ln(m^2 / (p_T \cdot 1\,\mathrm{GeV}))`.

    Args:
        mass: Jet masses (rows,) [GeV], positive.
        pt: Transverse momenta (rows,) [GeV], positive.

    Raises:
        DataError: if one is not positive.
    """
    masses, momenta = np.asarray(mass, dtype=np.float64), np.asarray(pt, dtype=np.float64)
    bad = ~((masses > 0) & (momenta > 0))
    if bad.any():
        row = int(bad.argmax())
        msg = f"mass {masses[row]} GeV, pt {momenta[row]} GeV in row {row}; needed: positive"
        raise DataError(msg)
    return np.asarray(2.0 * np.log(masses) - np.log(momenta))


@dataclass(frozen=True, eq=False, kw_only=True)
class DesignedDecorrelation(Decorrelator):
    r"""Linear transformation that takes the mean dependence on rho' from a score.

    .. math:: s' = s - M (\rho' - \rho'_0), \quad \rho' = \ln(m^2 / (p_T \cdot 1\,\mathrm{GeV}))

    M is the slope of the profile of the background's mean score between two values of rho'.

    Reference: arXiv:1603.00027 (of tau21, rho'_0 = 1.5, M = -0.063).

    Args:
        slope: M.
        slope_error: Its statistical error.
        start: rho'_0.
    """

    slope: float
    slope_error: float
    start: float

    @classmethod
    def fit(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        *,
        weight: ArrayLike | None = None,
        rho_range: tuple[float, float] = (1.5, 4.0),
        bins: int = 25,
    ) -> Self:
        """Fit the slope to background jets.

        Args:
            score: Scores (rows,).
            nuisances: Mass and transverse momentum (rows,) [GeV], in this order.
            weight: Event weights (rows,), not negative.
            rho_range: Range of rho' of the profile; the first is rho'_0.
            bins: Bins of the profile.

        Raises:
            ConfigError: if range or number of bins are impossible, these are not two nuisances, or
                the first of them is named pt.
            DataError: if fewer than three bins of the profile have at least ten jets, or as for
                `background`.
        """
        sample = background(score, nuisances, weight, where="designed", variables=(2,))
        require_mass_first(nuisances, where="designed")
        if bins < 3 or not rho_range[0] < rho_range[1]:
            msg = f"designed: bins {bins}, rho_range {rho_range}; needed: at least 3, low < high"
            raise ConfigError(msg)
        rho = scaled_mass(*sample.values.T)
        slope, error = _slope(sample.score, rho, sample.weight, span=rho_range, bins=bins)
        moved = sample.score - slope * (rho - rho_range[0])
        return cls(
            variables=tuple(nuisances),
            ranges=sample.ranges,
            table=levels(moved, sample.weight),
            slope=slope,
            slope_error=error,
            start=rho_range[0],
        )

    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return s', (rows,)."""
        return np.asarray(score - self.slope * (scaled_mass(*nuisances.T) - self.start))


def _slope(
    score: Floats, rho: Floats, weight: Floats, *, span: tuple[float, float], bins: int
) -> tuple[float, float]:
    """Fit a line to the profile of the mean score; return its slope and the error of it."""
    number = np.floor((rho - span[0]) / (span[1] - span[0]) * bins)
    chosen = (number >= 0) & (number < bins)
    cell, s, x, w = number[chosen].astype(np.int64), score[chosen], rho[chosen], weight[chosen]

    def total(values: Floats) -> Floats:
        return np.bincount(cell, weights=values, minlength=bins).astype(np.float64)

    sum_w, sum_w2 = total(w), total(w**2)
    used = (np.bincount(cell, minlength=bins) >= 10) & (sum_w > 0)
    if used.sum() < 3:
        msg = (
            f"designed: {int(used.sum())} of {bins} bins of rho' from {span[0]} to {span[1]} have "
            "ten jets; needed: three. Change rho_range or bins"
        )
        raise DataError(msg)
    mean = total(w * s)[used] / sum_w[used]
    at = total(w * x)[used] / sum_w[used]
    spread = total(w * s**2)[used] / sum_w[used] - mean**2
    variance = np.clip(spread, 1e-12, None) * sum_w2[used] / sum_w[used] ** 2
    inverse = 1.0 / variance
    centre = (inverse * at).sum() / inverse.sum()
    moment = (inverse * (at - centre) ** 2).sum()
    return float((inverse * (at - centre) * mean).sum() / moment), float(moment**-0.5)
