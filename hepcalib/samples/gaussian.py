"""Small Gaussian problems whose calibrations are known in closed form, with samples of them."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr

from hepcalib.exceptions import ConfigError

__all__ = [
    "AuxiliaryProblem",
    "GaussianProblem",
    "Sample",
    "exponential_bias",
    "flat_posterior_mean",
    "lognormal_closures",
    "proportional_closure",
    "simulate_auxiliary",
    "simulate_exponential",
    "simulate_gaussian",
    "softplus_response",
    "softplus_slope",
]

Floats: TypeAlias = NDArray[np.float64]


class Sample(NamedTuple):
    """True values, measured values and an auxiliary observable (0 if there is none); (rows,)."""

    true: Floats
    measured: Floats
    auxiliary: Floats


class GaussianProblem(NamedTuple):
    r"""A normal measurement of a normal truth, and what estimators make of it.

    .. math:: z \sim N(\mu, s^2), \quad Y | z \sim N(z, e^2)

    Reference: arXiv:2205.05084.
    """

    mean: float = 0.0  # mu
    width: float = 1.0  # s
    noise: float = 2.0  # e

    @property
    def slope(self) -> float:
        """Slope s^2 / (s^2 + e^2) of the MSE regression; that of the maximum likelihood is 1."""
        return self.width**2 / (self.width**2 + self.noise**2)

    @property
    def posterior_width(self) -> float:
        """Standard deviation s e / sqrt(s^2 + e^2) of z for a given measurement."""
        return self.width * self.noise / math.hypot(self.width, self.noise)

    @property
    def information(self) -> float:
        """Mutual information ln(1 + s^2 / e^2) / 2 of truth and measurement [nat]."""
        return 0.5 * math.log1p((self.width / self.noise) ** 2)

    def posterior_mean(self, measured: ArrayLike) -> Floats:
        """Return the optimum of MSE regression, (s^2 y + e^2 mu) / (s^2 + e^2)."""
        y = np.asarray(measured, dtype=np.float64)
        return np.asarray(self.slope * y + (1.0 - self.slope) * self.mean)

    def regression_bias(self, true: ArrayLike) -> Floats:
        """Return the mean error e^2 (mu - z) / (s^2 + e^2) of MSE regression at a true z."""
        return np.asarray((1.0 - self.slope) * (self.mean - np.asarray(true, dtype=np.float64)))


class AuxiliaryProblem(NamedTuple):
    r"""A measurement that also depends on an auxiliary observable.

    .. math:: Y = a z + b \theta + N(0, s^2), \quad \theta | z \sim N(c z, t^2)

    Reference: ATL-PHYS-PUB-2018-013.
    """

    response: float = 0.7  # a
    coupling: float = 3.0  # b
    noise: float = 4.0  # s
    spread: float = 1.5  # t
    drift: float = 0.0  # c

    @property
    def generalised_width(self) -> float:
        """Width s / a of the generalised inversion, which knows theta."""
        return self.noise / self.response

    @property
    def inversion_width(self) -> float:
        """Width sqrt(s^2 + b^2 t^2) / (a + b c) of the inversion that does not see theta."""
        total = math.hypot(self.noise, self.coupling * self.spread)
        return total / (self.response + self.coupling * self.drift)

    @property
    def likelihood_width(self) -> float:
        """Width 1 / sqrt(a^2 / s^2 + c^2 / t^2) of the maximum likelihood."""
        return 1.0 / math.hypot(self.response / self.noise, self.drift / self.spread)


def simulate_gaussian(problem: GaussianProblem, rows: int, *, seed: int) -> Sample:
    """Draw truths and measurements; equal seeds give equal noise whatever the problem.

    Raises:
        ConfigError: if rows or seed is negative.
    """
    truth, noise = _standard(rows, seed)
    true = problem.mean + problem.width * truth
    return Sample(true, true + problem.noise * noise, np.zeros(rows))


def simulate_exponential(scale: float, noise: float, rows: int, *, seed: int) -> Sample:
    """Draw truths from an exponential spectrum and measure them with constant normal noise.

    Raises:
        ConfigError: if rows or seed is negative.
    """
    truth, draw = _standard(rows, seed)
    true = -scale * np.log(ndtr(truth))
    return Sample(true, true + noise * draw, np.zeros(rows))


def simulate_auxiliary(problem: AuxiliaryProblem, true: ArrayLike, *, seed: int) -> Sample:
    """Measure given truths (rows,) together with the auxiliary observable.

    Raises:
        ConfigError: if the seed is negative.
    """
    z = np.asarray(true, dtype=np.float64)
    spread, noise = _standard(len(z), seed)
    theta = problem.drift * z + problem.spread * spread
    measured = problem.response * z + problem.coupling * theta + problem.noise * noise
    return Sample(z, measured, theta)


def exponential_bias(scale: float, noise: float) -> float:
    r"""Return the mean E[X - Z | Z] of an unbiased measurement Z on a falling spectrum.

    .. math:: p(x) \propto e^{-x / \Lambda}, \quad E[X - Z | Z] = -e^2 / \Lambda

    far from the end of the spectrum; E[X - Z | X] is 0.
    """
    return -(noise**2) / scale


def flat_posterior_mean(measured: ArrayLike, *, low: float, high: float, noise: float) -> Floats:
    r"""Return the posterior mean for a flat prior on [low, high] and normal noise.

    .. math:: E[z|y] = y + e \frac{\phi(\alpha) - \phi(\beta)}{\Phi(\beta) - \Phi(\alpha)}, \quad
        \alpha = (a - y) / e, \quad \beta = (b - y) / e

    Reference: arXiv:2205.05084.
    """
    y = np.asarray(measured, dtype=np.float64)
    alpha, beta = (low - y) / noise, (high - y) / noise
    first, last = (np.exp(-0.5 * x**2) / math.sqrt(2.0 * math.pi) for x in (alpha, beta))
    return np.asarray(y + noise * (first - last) / (ndtr(beta) - ndtr(alpha)))


def proportional_closure(relative: float) -> float:
    r"""Return the mean closure of the maximum likelihood if the width is proportional to z.

    .. math:: Y | z \sim N(z, k^2 z^2), \quad \hat z = c y, \quad c = (\sqrt{1 + 4 k^2} - 1) / 2 k^2
    """
    return (math.sqrt(1.0 + 4.0 * relative**2) - 1.0) / (2.0 * relative**2)


def lognormal_closures(width: float) -> dict[str, float]:
    r"""Return the closures of a log-normal measurement, y = z exp(s n).

    The maximum likelihood estimate y has median 1 and the mean below; calibrated in the mean it has
    the median and mode below.
    """
    return {
        "likelihood_mean": math.exp(0.5 * width**2),
        "mean_calibrated_median": math.exp(-0.5 * width**2),
        "mean_calibrated_mode": math.exp(-1.5 * width**2),
    }


def softplus_response(true: ArrayLike) -> Floats:
    r"""Return a response that rises from 0.55 to 1 in slope, like that of hadronic showers.

    .. math:: f'(x) = 0.55 + 0.45 / (1 + e^{-(x - 25) / 12}), \quad f(0) = 0

    Reference: arXiv:1609.05195.
    """
    x = np.asarray(true, dtype=np.float64)
    rise = np.logaddexp(0.0, (x - 25.0) / 12.0) - np.logaddexp(0.0, -25.0 / 12.0)
    return np.asarray(0.55 * x + 0.45 * 12.0 * rise)


def softplus_slope(true: ArrayLike) -> Floats:
    """Return the slope f' of `softplus_response`."""
    return np.asarray(0.55 + 0.45 * expit((np.asarray(true, dtype=np.float64) - 25.0) / 12.0))


def _standard(rows: int, seed: int) -> tuple[Floats, Floats]:
    """Return two independent columns of standard normal numbers that depend on the seed only."""
    if rows < 0 or seed < 0:
        msg = f"samples.gaussian: rows is {rows}, seed {seed}; needed: at least 0 each"
        raise ConfigError(msg)
    first, second = np.random.SeedSequence(seed).spawn(2)
    truth, noise = (np.random.default_rng(part).standard_normal(rows) for part in (first, second))
    return truth, noise
