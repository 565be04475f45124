"""Whether a calibration closes: in bins of the truth, whatever the spectrum, and in reco bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion
from hepcalib.hists.closure import FACTOR
from hepcalib.metrics.bootstrap import (
    described,
    drawn_cells,
    drawn_rows,
    effective_entries,
    replicated,
    spread,
)
from hepcalib.metrics.cells import shares_of_reco, shares_of_truth
from hepcalib.metrics.counts import Floats, centres, counts, divide
from hepcalib.metrics.counts import edges as edges_of
from hepcalib.metrics.reweighting import spectrum_factors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hist import Hist
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Closure", "Shift", "closure", "closures", "paired_shift", "shift"]

STATISTICS = ("mean", "median", "mode")


class Closure(NamedTuple):
    r"""Location and spread of Z / X in bins of the truth X, or of X / Z in bins of Z.

    With binned_in "truth" :math:`C_T(x) = T[Z / x | X = x]`, which does not depend on the spectrum
    and is the figure of merit; with "reco" :math:`C^p_T(z) = T[X / z | Z = z]`, which does.
    """

    method: str
    binned_in: Literal["truth", "reco"]
    edges: Floats
    centres: Floats
    mean: Floats
    mean_error: Floats
    median: Floats
    median_error: Floats
    mode: Floats
    mode_error: Floats
    width: Floats  # (q84 - q16) / (2 q50)
    width_error: Floats
    tails: Floats  # share beyond three half-widths from the median
    tails_error: Floats
    outside: Floats  # share beyond a factor 20 from 1: what has run away
    outside_error: Floats
    entries: Floats  # effective


class Shift(NamedTuple):
    """How far a location of the closure moves between two trainings, in bins of the truth."""

    method: str
    statistic: str
    edges: Floats
    centres: Floats
    shift: Floats  # relative
    error: Floats
    chi2: float
    bins: int  # with an error


def closure(
    true: ArrayLike,
    calibrated: ArrayLike,
    *,
    edges: ArrayLike,
    weight: ArrayLike | None = None,
    binned_in: Literal["truth", "reco"] = "truth",
    method: str = "",
    replicas: int = 20,
    seed: int = 0,
    minimum_entries: float = 10.0,
) -> Closure:
    """Return the closure of a calibration, with bootstrap errors.

    The replicas weight each row by a Poisson number that depends on the seed and the row only, the
    same for every method and binning.

    Args:
        true: True values (rows,), positive.
        calibrated: Calibrated values (rows,), positive for binned_in "reco".
        edges: Bin edges of the truth, or of the calibrated value.
        weight: Event weights (rows,), not negative.
        binned_in: "truth" or "reco".
        method: Name of the calibration.
        replicas: Number of bootstrap samples.
        seed: Their seed.
        minimum_entries: Bins with fewer effective entries give NaN.

    Raises:
        DataError: if a truth is not positive.
        ShapeError: if the lengths differ.
    """
    x, z, w = _rows(true, calibrated, weight)
    drawn = drawn_rows(len(x), replicas=replicas, seed=seed)
    ratio, variable = (z / x, x) if binned_in == "truth" else (x / z, z)
    found = []
    for rows in _bins(variable, edges):
        own = w[rows]
        entries = effective_entries(float(own.sum()), float((own**2).sum()))
        found.append(
            described(
                ratio[rows],
                own * drawn[:, rows],
                entries=entries,
                minimum=minimum_entries,
                factor=FACTOR,
            )
        )
    return _closure(method, binned_in, edges, found)


def closures(
    histogram: Hist[Any],
    *,
    edges: ArrayLike,
    binned_in: Literal["truth", "reco"] = "truth",
    spectrum: str = "nominal",
    replicas: int = 20,
    seed: int = 0,
    minimum_entries: float = 10.0,
) -> dict[str, Closure]:
    """Return the closure of each method of a histogram, for any spectrum of the truth.

    Every entry counts, also what lies outside the axis of the ratio: below it as its lower end,
    above it as its upper one. An edge that lies inside a fine bin divides it as if it were filled
    evenly in the logarithms of truth and ratio.

    Args:
        histogram: What `hists.closure` returned, filled.
        edges: Bin edges of the truth, or of the calibrated energy [GeV].
        binned_in: "truth" or "reco".
        spectrum: One of `metrics.SPECTRA`: what the truth is reweighted to.
        replicas: Number of bootstrap samples.
        seed: Their seed.
        minimum_entries: Bins with fewer effective entries give NaN.

    Returns:
        Method -> closure; arrays (bins,).

    Raises:
        ConfigError: if the spectrum is unknown.
    """
    filled = counts(histogram).at((slice(None), slice(1, -1)))
    fine, ratio = (edges_of(axis) for axis in histogram.axes[1:])
    middles = np.concatenate([ratio[:1], centres(histogram.axes[2]), ratio[-1:]])
    values = middles if binned_in == "truth" else 1.0 / middles
    if binned_in == "truth":
        shares = shares_of_truth(fine, edges)
    else:
        shares = shares_of_reco(fine, ratio, edges)
    results = {}
    for place, name in enumerate(histogram.axes[0]):
        own = filled.at(place)
        factor = spectrum_factors(spectrum, fine, own.values.sum(axis=1))[:, None]
        drawn = drawn_cells(own.values, own.variances, replicas=replicas, seed=seed) * factor
        squares = own.variances * factor**2
        found = []
        for share in shares:
            weights = np.einsum("rtc,tc->rc", drawn, share)
            entries = effective_entries(float(weights[0].sum()), float((squares * share).sum()))
            found.append(
                described(values, weights, entries=entries, minimum=minimum_entries, factor=FACTOR)
            )
        results[str(name)] = _closure(str(name), binned_in, edges, found)
    return results


def shift(first: Closure, second: Closure, *, statistic: str = "median") -> Shift:
    r"""Return the relative shift of a location from one training to another.

    .. math:: \chi^2 = \sum_b (\Delta_b / \sigma_b)^2

    The errors are those of two independent test samples. On one and the same test sample they are
    too large, and chi2 too small; use `paired_shift` with the rows.

    Args:
        first: Closure of the nominal training.
        second: Closure of the other one.
        statistic: "mean", "median" or "mode".

    Raises:
        ConfigError: if the statistic is unknown.
        ShapeError: if the bins differ.
    """
    _require_statistic(statistic)
    if not np.array_equal(first.edges, second.edges):
        msg = f"closures of {len(first.edges) - 1} and {len(second.edges) - 1} bins; needed: equal"
        raise ShapeError(msg)
    before, after = getattr(first, statistic), getattr(second, statistic)
    errors = [divide(getattr(c, f"{statistic}_error"), before) for c in (first, second)]
    relative = divide(after, before) - 1.0
    return _shift(first.method, statistic, first.edges, relative, np.hypot(*errors))


def paired_shift(
    true: ArrayLike,
    calibrated: tuple[ArrayLike, ArrayLike],
    *,
    edges: ArrayLike,
    statistic: str = "median",
    weight: ArrayLike | None = None,
    method: str = "",
    replicas: int = 50,
    seed: int = 0,
    minimum_entries: float = 10.0,
) -> Shift:
    """Return the shift between two calibrations of the same rows, with the errors of the pairs.

    What both share cancels in each bootstrap sample. The error is that of the test sample: the two
    trainings have statistical uncertainties of their own.

    Args:
        true: True values (rows,), positive.
        calibrated: Calibrated values of the nominal and of the other training, (rows,) each.
        edges: Bin edges of the truth.
        statistic: "mean", "median" or "mode".
        weight: Event weights (rows,), not negative.
        method: Name of the calibration.
        replicas: Number of bootstrap samples.
        seed: Their seed.
        minimum_entries: Bins with fewer effective entries give NaN.

    Raises:
        ConfigError: if the statistic is unknown.
        DataError: if a truth is not positive.
        ShapeError: if the lengths differ.
    """
    _require_statistic(statistic)
    both = [_rows(true, values, weight) for values in calibrated]
    x, _, w = both[0]
    drawn = drawn_rows(len(x), replicas=replicas, seed=seed)
    found = []
    for rows in _bins(x, edges):
        own = w[rows]
        entries = effective_entries(float(own.sum()), float((own**2).sum()))
        before, after = (
            replicated(
                z[rows] / x[rows],
                own * drawn[:, rows],
                entries=entries,
                minimum=minimum_entries,
                quantities=[statistic],
                factor=FACTOR,
            )[0]
            for _, z, _ in both
        )
        found.append(after / before - 1.0)
    relative = np.stack(found)
    return _shift(method, statistic, edges, relative[:, 0], spread(relative))


def _rows(
    true: ArrayLike, calibrated: ArrayLike, weight: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Return truth, calibrated value and weight of the rows."""
    x, z = np.asarray(true, dtype=np.float64), np.asarray(calibrated, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    if not (x.shape == z.shape == w.shape and x.ndim == 1):
        msg = f"closure: true {x.shape}, calibrated {z.shape}, weight {w.shape}; needed: (rows,)"
        raise ShapeError(msg)
    bad = ~(x > 0.0)
    if bad.any():
        row = int(bad.argmax())
        msg = f"closure: {bad.sum()} truths are not positive, the first is {x[row]} in row {row}"
        raise DataError(msg)
    return x, z, w


def _bins(variable: Floats, edges: ArrayLike) -> Iterator[NDArray[np.bool_]]:
    """Yield for each bin which values are in it."""
    bins = np.asarray(edges, dtype=np.float64)
    place = np.searchsorted(bins, variable, side="right") - 1
    for number in range(len(bins) - 1):
        yield place == number


def _middles(edges: ArrayLike) -> tuple[Floats, Floats]:
    """Return the edges, and the geometric centres where all edges are positive."""
    bins = np.asarray(edges, dtype=np.float64)
    low, high = bins[:-1], bins[1:]
    return bins, np.sqrt(low * high) if bins[0] > 0.0 else 0.5 * (low + high)


def _closure(
    method: str, binned_in: Literal["truth", "reco"], edges: ArrayLike, found: list[Floats]
) -> Closure:
    return Closure(method, binned_in, *_middles(edges), *np.stack(found, axis=1))


def _shift(method: str, statistic: str, edges: ArrayLike, relative: Floats, error: Floats) -> Shift:
    usable = np.isfinite(relative) & (error > 0.0)
    chi2 = float(((relative[usable] / error[usable]) ** 2).sum())
    return Shift(method, statistic, *_middles(edges), relative, error, chi2, int(usable.sum()))


def _require_statistic(statistic: str) -> None:
    if statistic not in STATISTICS:
        msg = f"closure: unknown statistic '{statistic}'. {suggestion(statistic, STATISTICS)}"
        raise ConfigError(msg)
