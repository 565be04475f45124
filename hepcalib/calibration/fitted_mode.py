"""The mode of a sample from a fit to the logarithm of its density around the peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from hepcalib.calibration.sample_location import (
    GRID,
    kernel_density,
    rebinned,
    sample_quantiles,
    vertex,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["fitted_mode"]

Floats: TypeAlias = NDArray[np.float64]

_LEVEL = 0.3  # of the highest density, where the fit ends on either side
_RISE = 0.1  # of the highest density, by which another peak stands out
_REACH = 2.0  # of the kernel density, beyond the quantiles, in units of their distance
_BINS = 256  # of the fit
_DEGREES = range(2, 11)
_ROWS = 10  # for each degree
_POINTS = 2001  # where the maximum of the polynomial is sought
_STEPS, _HALVINGS, _ENOUGH = 50, 30, 1e-8  # of the fit; the last in units of ln L
_ONE_SIGMA = (0.158655, 0.841345)


class _Fit(NamedTuple):
    coefficients: Floats  # of the Legendre polynomials of degree 1 and more
    log_likelihood: float


class _Peak(NamedTuple):
    highest: float
    low: float
    high: float


def fitted_mode(values: ArrayLike, weight: ArrayLike | None = None) -> float:
    r"""Return the maximum of a polynomial that is fitted to ln of the density around the peak.

    .. math:: \ln p(x) = c_0 + \sum_{k=1}^{K} c_k P_k(u), \quad u \in [-1, 1]

    The fit is that of the largest likelihood, to what lies in the interval around the highest point
    of a kernel density where that exceeds 0.3 of its maximum, or up to the valley before another
    peak: it knows nothing of tails and of other peaks. Of the degrees K from 2 to 10 the one of the
    smallest -2 ln L + K ln n is taken, n the effective rows there, and K is at most n / 10: bends
    that cannot be told from fluctuations of the sample are not followed.

    The mode of n normal values is found with an error of 1.4 sigma / n^(1/2); that of the kernel
    density, `sample_mode`, has 0.6 sigma / n^(1/5).

    Args:
        values: (rows,).
        weight: Weights (rows,), not negative; 1 when None.

    Returns:
        The mode, NaN where the weights do not have a positive sum; with fewer than 20 effective
        rows around the peak, that of the kernel density.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    x, w = x[w > 0.0], w[w > 0.0]
    if not x.size:
        return np.nan
    peak = _rough(x, w)
    inside = (x >= peak.low) & (x <= peak.high)
    kept = w[inside]
    effective = kept.sum() ** 2 / (kept**2).sum() if inside.any() else 0.0
    if not peak.high > peak.low or effective < _DEGREES[0] * _ROWS:
        return peak.highest
    contents = np.histogram(x[inside], bins=_BINS, range=peak[1:], weights=kept)[0]
    fit = _best(contents * (effective / kept.sum()))
    if fit is None:
        return peak.highest
    u = np.linspace(-1.0, 1.0, _POINTS)
    place = vertex(u, legendre.legval(u, np.concatenate([[0.0], fit.coefficients])))
    return peak.low + 0.5 * (peak.high - peak.low) * (1.0 + place)


def _rough(x: Floats, w: Floats) -> _Peak:
    """Return the highest point of a kernel density, and the interval that the fit is to.

    The bandwidth is Scott's with half the distance of the quantiles: it ignores outliers.
    """
    first, middle, last = sample_quantiles(x, (_ONE_SIGMA[0], 0.5, _ONE_SIGMA[1]), weight=w)
    bandwidth = 0.5 * (last - first) * (w.sum() ** 2 / (w**2).sum()) ** -0.2
    if not bandwidth > 0.0:
        return _Peak(float(middle), float(middle), float(middle))
    x, flat = rebinned(x, w[None])
    ends = first - _REACH * (last - first), last + _REACH * (last - first)
    grid = np.linspace(max(ends[0], x.min()), min(ends[1], x.max()), GRID)
    density = kernel_density(grid, x, flat, bandwidth)[0]
    top = int(density.argmax())
    left, right = _descent(density[top::-1]), _descent(density[top:])
    return _Peak(vertex(grid, density), float(grid[top - left]), float(grid[top + right]))


def _descent(density: Floats) -> int:
    """Return how many points from the peak, the first, the fit ends."""
    lowest = np.minimum.accumulate(density)
    over = (density < _LEVEL * density[0]) | (density > lowest + _RISE * density[0])
    end = int(over.argmax()) if over.any() else len(density) - 1
    return int(density[: end + 1].argmin())


def _best(contents: Floats) -> _Fit | None:
    """Return the fit of the degree that the contents of equal bins ask for; None if all fail."""
    centres = (2.0 * np.arange(_BINS) + 1.0) / _BINS - 1.0
    basis: Floats = np.asarray(legendre.legvander(centres, _DEGREES[-1])[:, 1:], np.float64)
    price = np.log(contents.sum())
    most = min(contents.sum() / _ROWS, np.count_nonzero(contents) // 2)
    best, start, lowest = None, np.zeros(0), np.inf
    for degree in _DEGREES:
        if degree > most:
            break
        start = np.pad(start, (0, degree - start.size))
        fit = _fitted(contents, basis[:, :degree], start)
        if fit is None:
            break
        start = fit.coefficients
        criterion = price * degree - 2.0 * fit.log_likelihood
        if criterion < lowest:
            best, lowest = fit, criterion
    return best


def _fitted(contents: Floats, basis: Floats, start: Floats) -> _Fit | None:
    """Return the polynomial of the largest likelihood, by Newton steps; ln L is concave."""
    c, total = start, contents.sum()
    value, share = _log_likelihood(contents, basis @ c)
    for _ in range(_STEPS):
        mean = share @ basis
        information = total * ((basis.T * share) @ basis - np.outer(mean, mean))
        slope = contents @ basis - total * mean
        try:
            step = np.linalg.solve(information, slope)
        except np.linalg.LinAlgError:
            return None
        gain = float(slope @ step)
        if not gain > _ENOUGH:
            return _Fit(c, value) if np.isfinite(gain) else None
        for _ in range(_HALVINGS):
            after, share = _log_likelihood(contents, basis @ (c + step))
            if after >= value:
                break
            step = 0.5 * step
        c, value = c + step, after
    return None


def _log_likelihood(contents: Floats, exponent: Floats) -> tuple[float, Floats]:
    """Return ln L, up to a constant, and the share of each bin."""
    height = np.exp(exponent - exponent.max())
    return (
        float(contents @ (exponent - exponent.max()) - contents.sum() * np.log(height.sum())),
        height / height.sum(),
    )
