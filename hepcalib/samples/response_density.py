"""Exact functionals of a truncated mixture of two log-normals: the oracle of the cluster sample.

Every array here holds one value for each cluster: all shapes are (clusters,).
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from hepcalib.exceptions import ConfigError, DataError, ShapeError

__all__ = [
    "ResponseDensity",
    "cdf",
    "log_mode",
    "mean",
    "median",
    "mode",
    "moment",
    "nll",
    "probability",
    "quantile",
    "shifted",
    "sigma_log10",
    "standard_deviation",
]

Array: TypeAlias = NDArray[np.float64]

_LN10 = math.log(10.0)
_TOLERANCE = 1e-10  # of quantiles and of a step of the mode finder, in ln R
_MODE_STEPS = 2000  # the finder is slow only where two maxima merge


class ResponseDensity(NamedTuple):
    r"""Density of ln R of each cluster, a mixture of two normals truncated to low < ln R < high.

    .. math:: p(\ln R|x) \propto (1-p_2) N(m_1, s_1^2) + p_2 N(m_2, s_2^2)
    """

    p2: Array  # share of component 2 before truncation
    m1: Array  # mean of ln R of component 1
    s1: Array  # standard deviation of ln R of component 1
    m2: Array
    s2: Array
    low: Array  # ends of ln R, may be infinite
    high: Array

    @property
    def components(self) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
        """Probability, mean and standard deviation of ln R of the two components."""
        return (1.0 - self.p2, self.m1, self.s1), (self.p2, self.m2, self.s2)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> ResponseDensity:
        """Return the densities of some of the clusters."""
        return ResponseDensity(*(values[rows] for values in self))


def probability(mixture: ResponseDensity) -> Array:
    r"""Probability that a cluster passes the truncation.

    .. math:: W = F(b) - F(a), \quad F(l) = \sum_k p_k \Phi((l - m_k) / s_k)

    Args:
        mixture: Density of ln R.
    """
    return _untruncated(mixture, mixture.high) - _untruncated(mixture, mixture.low)


def cdf(mixture: ResponseDensity, response: Array) -> Array:
    r"""Probability of a response below the given one, with truncation.

    .. math:: (F(\ln R) - F(a)) / W, \quad F(l) = \sum_k p_k \Phi((l - m_k) / s_k)

    At the true response of clusters that pass the cuts this is the probability integral
    transform (PIT), uniform in [0, 1] if and only if the density is the right one.

    Args:
        mixture: Density of ln R.
        response: R = E_EM / E_dep, positive.

    Raises:
        DataError: if a response is not finite and positive.
        ShapeError: if the lengths differ.
    """
    inside = np.clip(_log(mixture, response), mixture.low, mixture.high)
    below = _untruncated(mixture, inside) - _untruncated(mixture, mixture.low)
    return np.asarray(below / probability(mixture), dtype=np.float64)


def quantile(mixture: ResponseDensity, p: float) -> Array:
    r"""Response below which a cluster lies with probability p, with truncation.

    Solves F(ln R) = F(a) + p W by bisection between the quantiles of the components.

    Args:
        mixture: Density of ln R.
        p: Probability, 0 < p < 1.

    Raises:
        ConfigError: if p is outside (0, 1).
    """
    if not 0.0 < p < 1.0:
        msg = f"response_density.quantile: p = {p} is not a probability between 0 and 1 (exclusive)"
        raise ConfigError(msg)
    start = _untruncated(mixture, mixture.low)
    target = start + p * (_untruncated(mixture, mixture.high) - start)
    z = ndtri(target)
    ends = [np.clip(m + s * z, mixture.low, mixture.high) for _, m, s in mixture.components]
    below, above = np.minimum(*ends), np.maximum(*ends)
    width = float(np.max(above - below, initial=0.0))
    for _ in range(max(0, math.ceil(math.log2(max(width, _TOLERANCE) / _TOLERANCE)))):
        middle = 0.5 * (below + above)
        is_low = _untruncated(mixture, middle) < target
        below, above = np.where(is_low, middle, below), np.where(is_low, above, middle)
    return np.exp(0.5 * (below + above))


def median(mixture: ResponseDensity) -> Array:
    """Median of the response, with truncation."""
    return quantile(mixture, 0.5)


def moment(mixture: ResponseDensity, order: int) -> Array:
    r"""Moment of the response R (not of ln R), with truncation.

    .. math:: E[R^j] = \frac{1}{W} \sum_k p_k e^{j m_k + j^2 s_k^2 / 2}
              [\Phi((b - m_k - j s_k^2) / s_k) - \Phi((a - m_k - j s_k^2) / s_k)]

    Args:
        mixture: Density of ln R.
        order: The power j.
    """
    total = np.zeros_like(mixture.m1)
    for p, m, s in mixture.components:
        centre = m + order * s**2
        inside = ndtr((mixture.high - centre) / s) - ndtr((mixture.low - centre) / s)
        total += p * np.exp(order * m + 0.5 * (order * s) ** 2) * inside
    return total / probability(mixture)


def mean(mixture: ResponseDensity) -> Array:
    """Mean of the response, with truncation."""
    return moment(mixture, 1)


def standard_deviation(mixture: ResponseDensity) -> Array:
    """Standard deviation of the response, with truncation."""
    return np.sqrt(moment(mixture, 2) - moment(mixture, 1) ** 2)


def log_mode(mixture: ResponseDensity) -> Array:
    r"""Response at the maximum of the density of ln R, what networks for log10 R aim at.

    Follows :math:`x \leftarrow \sum r_k m_k s_k^{-2} / \sum r_k s_k^{-2}` with
    :math:`r_k \propto p_k N(x; m_k, s_k^2)` from both means and keeps the higher maximum.

    Args:
        mixture: Density of ln R.
    """
    ends = [
        np.clip(_ascend(mixture, m), mixture.low, mixture.high) for _, m, _ in mixture.components
    ]
    heights = [_log_density(mixture, end) for end in ends]
    return np.exp(np.where(heights[0] >= heights[1], ends[0], ends[1]))


def mode(mixture: ResponseDensity) -> Array:
    r"""Response at the maximum of the density of R (not of ln R).

    As the mode in ln R, with m_k -> m_k - s_k^2 and p_k -> p_k e^(-m_k + s_k^2 / 2).

    Args:
        mixture: Density of ln R.
    """
    return log_mode(shifted(mixture, -1.0))


def nll(mixture: ResponseDensity, response: Array) -> Array:
    r"""Negative log-likelihood of log10 R of each cluster, with truncation [nat].

    .. math:: -\ln [\ln 10 \sum_k p_k N(\ln R; m_k, s_k^2) / W]

    Infinite for a response outside the truncation.

    Args:
        mixture: Density of ln R.
        response: R = E_EM / E_dep, positive.

    Raises:
        DataError: if a response is not finite and positive.
        ShapeError: if the lengths differ.
    """
    log_response = _log(mixture, response)
    inside = (log_response >= mixture.low) & (log_response <= mixture.high)
    density = _log_density(mixture, log_response) + math.log(_LN10) - np.log(probability(mixture))
    return np.where(inside, -density, np.inf)


def sigma_log10(mixture: ResponseDensity) -> Array:
    r"""Standard deviation of log10 R without truncation, what a network's sigma aims at.

    .. math:: \sqrt{\sum_k p_k (s_k^2 + m_k^2) - (\sum_k p_k m_k)^2} / \ln 10

    Args:
        mixture: Density of ln R.
    """
    p, q = mixture.p2, 1.0 - mixture.p2
    spread = p * q * (mixture.m2 - mixture.m1) ** 2
    return np.sqrt(q * mixture.s1**2 + p * mixture.s2**2 + spread) / _LN10


def shifted(mixture: ResponseDensity, g: float) -> ResponseDensity:
    r"""Density of the response after weighting the clusters with E_dep^-g.

    E_dep = E / R, so that at fixed x the weight is R^g and the family is kept:
    m_k -> m_k + g s_k^2, p_k proportional to p_k e^(g m_k + g^2 s_k^2 / 2), same truncation.

    Args:
        mixture: Density of ln R.
        g: Change of the index of the spectrum of E_dep; positive for a softer one.
    """
    log_p1, log_p2 = (_log_weight(p) + g * m + 0.5 * (g * s) ** 2 for p, m, s in mixture.components)
    return mixture._replace(
        p2=np.exp(log_p2 - np.logaddexp(log_p1, log_p2)),
        m1=mixture.m1 + g * mixture.s1**2,
        m2=mixture.m2 + g * mixture.s2**2,
    )


def _untruncated(mixture: ResponseDensity, log_response: Array) -> Array:
    """Distribution function of ln R without truncation."""
    (p1, m1, s1), (p2, m2, s2) = mixture.components
    below = p1 * ndtr((log_response - m1) / s1) + p2 * ndtr((log_response - m2) / s2)
    return np.asarray(below, dtype=np.float64)


def _log_density(mixture: ResponseDensity, log_response: Array) -> Array:
    """Logarithm of the density of ln R without truncation."""
    heights = [
        _log_weight(p) - np.log(s) - 0.5 * ((log_response - m) / s) ** 2
        for p, m, s in mixture.components
    ]
    return np.logaddexp(*heights) - 0.5 * math.log(2.0 * math.pi)


def _ascend(mixture: ResponseDensity, start: Array) -> Array:
    """Maximum of the untruncated density of ln R that is reached from a start."""
    found = start.copy()
    moving = np.arange(len(start))
    for _ in range(_MODE_STEPS):
        (p1, m1, s1), (p2, m2, s2) = mixture.select(moving).components
        x = found[moving]
        log_ratio = _log_weight(p2) - _log_weight(p1) + np.log(s1 / s2)
        second = expit(log_ratio + 0.5 * (((x - m1) / s1) ** 2 - ((x - m2) / s2) ** 2))
        pull1, pull2 = (1.0 - second) / s1**2, second / s2**2
        found[moving] = (pull1 * m1 + pull2 * m2) / (pull1 + pull2)
        moving = moving[np.abs(found[moving] - x) > _TOLERANCE]
        if not moving.size:
            break
    return found


def _log_weight(p: Array) -> Array:
    """Logarithm of a probability, finite at zero."""
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))


def _log(mixture: ResponseDensity, response: Array) -> Array:
    """Logarithm of one response for each cluster."""
    values = np.asarray(response, dtype=np.float64)
    if values.shape != mixture.m1.shape:
        msg = f"response_density: {values.shape} responses for {mixture.m1.shape} densities"
        raise ShapeError(msg)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)))
    if wrong.size:
        msg = (
            f"response_density: response {values[wrong[0]]} at row {wrong[0]} ({wrong.size} such "
            "rows); a response is finite and positive"
        )
        raise DataError(msg)
    return np.log(values)
