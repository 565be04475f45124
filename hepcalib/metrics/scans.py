"""What a series of trainings says: uncertainty against training size, or against a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import ShapeError
from hepcalib.hists import KINDS
from hepcalib.metrics.counts import Floats, counts, edges, quantiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = ["Plateau", "PowerLaw", "Scan", "plateau", "power_law", "scan"]


class PowerLaw(NamedTuple):
    """y = amplitude * x^slope, fitted to points with errors."""

    amplitude: float
    amplitude_error: float
    slope: float
    slope_error: float
    chi2: float
    degrees: int  # of freedom
    low: float  # range of x that was fitted
    high: float


class Plateau(NamedTuple):
    """The value that points settle at towards large x."""

    value: float
    error: float
    start: float  # x from which on it holds
    points: int


class Scan(NamedTuple):
    """Median relative uncertainties of models that differ in one setting."""

    parameter: str  # label of the setting
    values: Floats
    statistical: Floats
    statistical_error: Floats
    systematic: Floats
    systematic_error: Floats
    total: Floats
    total_error: Floats
    entries: Floats
    statistical_slope: PowerLaw | None
    systematic_plateau: Plateau | None

    @property
    def falls(self) -> bool:
        """Whether the statistical uncertainty is smaller at every next value."""
        known = self.statistical[np.isfinite(self.statistical)]
        return bool(known.size > 1 and np.all(np.diff(known) < 0.0))


def scan(
    histograms: Mapping[float, Hist[Any]],
    *,
    parameter: str = "Training clusters",
    fit: bool = True,
    minimum_entries: float = 10.0,
) -> Scan:
    """Median statistical, systematic and total relative uncertainty of each model of a scan.

    Args:
        histograms: Value of the setting -> what `hists.uncertainty` returned, filled.
        parameter: What the setting is called.
        fit: Fit a power law to the statistical and a plateau to the systematic uncertainty.
        minimum_entries: Models with fewer effective entries give NaN.

    Returns:
        Arrays (values,), in ascending order of the setting.
    """
    values = np.array(sorted(histograms), dtype=np.float64)
    medians = {kind: np.full((2, values.size), np.nan) for kind in KINDS}
    entries = np.zeros(values.size)
    for place, value in enumerate(sorted(histograms)):
        histogram = histograms[value]
        everything, at = counts(histogram), edges(histogram.axes[1])
        for row, kind in enumerate(str(name) for name in histogram.axes[0]):
            part = everything.at(row)
            found = quantiles(part, at, (0.5,), minimum_entries=minimum_entries)
            medians[kind][:, place] = found.values[0], found.errors[0]
            entries[place] = max(entries[place], part.entries)
    statistical, systematic, total = (
        medians[kind] for kind in ("statistical", "systematic", "total")
    )
    return Scan(
        parameter=parameter,
        values=values,
        statistical=statistical[0],
        statistical_error=statistical[1],
        systematic=systematic[0],
        systematic_error=systematic[1],
        total=total[0],
        total_error=total[1],
        entries=entries,
        statistical_slope=power_law(values, *statistical) if fit else None,
        systematic_plateau=plateau(values, *systematic) if fit else None,
    )


def power_law(x: ArrayLike, y: ArrayLike, error: ArrayLike) -> PowerLaw | None:
    r"""Fit a power law by weighted least squares of ln y against ln x.

    .. math:: \ln y = \ln a + b \ln x, \quad \sigma(\ln y) = \sigma / y

    Where the points scatter more than their errors, as trainings from different seeds do, the
    errors of the fit grow by :math:`\sqrt{\chi^2 / n_{dof}}`.

    Args:
        x: Positive (points,).
        y: Values (points,); points whose value or error is not finite and positive are left out.
        error: Their standard errors (points,).

    Returns:
        The fit, or None with fewer than two points.

    Raises:
        ShapeError: if the lengths differ.
    """
    at, values, errors = _usable(x, y, error)
    if at.size < 2:
        return None
    weight, u, v = (values / errors) ** 2, np.log(at), np.log(values)
    middle = float(weight @ u / weight.sum())
    spread = float(weight @ (u - middle) ** 2)
    if not spread > 0.0:
        return None
    slope = float(weight @ ((u - middle) * v) / spread)
    height = float(weight @ v / weight.sum())  # of the line at the middle
    chi2 = float(weight @ (v - height - slope * (u - middle)) ** 2)
    degrees = at.size - 2
    scale = max(1.0, float(np.sqrt(chi2 / degrees))) if degrees else 1.0
    amplitude = float(np.exp(height - slope * middle))
    variance = 1.0 / float(weight.sum()) + middle**2 / spread
    return PowerLaw(
        amplitude=amplitude,
        amplitude_error=scale * amplitude * float(np.sqrt(variance)),
        slope=slope,
        slope_error=scale / float(np.sqrt(spread)),
        chi2=chi2,
        degrees=degrees,
        low=float(at.min()),
        high=float(at.max()),
    )


def plateau(
    x: ArrayLike, y: ArrayLike, error: ArrayLike, *, tolerance: float = 0.05
) -> Plateau | None:
    """Value that points settle at: the mean of the longest run at large x that is flat.

    A run is flat if every point is within a fraction of the weighted mean, or within two of its
    own standard errors. The error is the larger of that of the mean and of what the scatter of
    the points gives.

    Args:
        x: (points,).
        y: Values (points,); points whose value or error is not finite and positive are left out.
        error: Their standard errors (points,).
        tolerance: The fraction.

    Returns:
        The plateau, or None if not even the last two points agree.

    Raises:
        ShapeError: if the lengths differ.
    """
    at, values, errors = _usable(x, y, error)
    order = np.argsort(at)
    at, values, errors = at[order], values[order], errors[order]
    for start in range(at.size - 1):
        run, sigma = values[start:], errors[start:]
        weight = 1.0 / sigma**2
        mean = float(weight @ run / weight.sum())
        if np.all(np.abs(run - mean) <= np.maximum(tolerance * mean, 2.0 * sigma)):
            scatter = float(run.std(ddof=1) / np.sqrt(run.size))
            of_mean = float(1.0 / np.sqrt(weight.sum()))
            return Plateau(mean, max(scatter, of_mean), float(at[start]), run.size)
    return None


def _usable(x: ArrayLike, y: ArrayLike, error: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return the points where all three are finite and positive."""
    columns = [np.asarray(column, dtype=np.float64) for column in (x, y, error)]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        msg = f"x, y and error must be (points,), got {[column.shape for column in columns]}."
        raise ShapeError(msg)
    usable = np.all([np.isfinite(column) & (column > 0.0) for column in columns], axis=0)
    at, values, errors = (column[usable] for column in columns)
    return at, values, errors
