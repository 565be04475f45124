"""A tagging problem whose best classifiers, free and decorrelated, are known in closed form.

Three normal variables: the nuisance X0, that no classifier may see, and the inputs X1 and X2. All
have the width 1.5; background is centred at 0 and has a correlation of -0.8 between X0 and X1,
signal is centred at (2.5, 2.5, 2) without correlations.

Reference: arXiv:2007.14400.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from hepcalib.exceptions import ConfigError

__all__ = [
    "DECORRELATED",
    "SHIFTED",
    "UNCONSTRAINED",
    "NormalScores",
    "ThreeGaussians",
    "decorrelated_score",
    "shifted_score",
    "simulate",
    "unconstrained_score",
]

Floats: TypeAlias = NDArray[np.float64]

_WIDTH, _CORRELATION = 1.5, -0.8
_SIGNAL = (2.5, 2.5, 2.0)


class ThreeGaussians(NamedTuple):
    """Events: the nuisance (rows,), the inputs (rows, 2), and whether they are signal (rows,)."""

    nuisance: Floats
    inputs: Floats
    signal: NDArray[np.bool_]


class NormalScores(NamedTuple):
    """Scores that are standard normal for background and normal for signal."""

    separation: float  # mean of the signal
    width: float = 1.0  # of the signal

    def rejection(self, signal_efficiency: float) -> float:
        r"""Return :math:`1 / \epsilon_B = 1 / \Phi(w z - d)`, z the quantile of the efficiency."""
        return float(1.0 / ndtr(self.width * ndtri(signal_efficiency) - self.separation))

    @property
    def auc(self) -> float:
        r"""Area under the ROC curve, :math:`\Phi(d / \sqrt{1 + w^2})`."""
        return float(ndtr(self.separation / math.hypot(1.0, self.width)))


UNCONSTRAINED = NormalScores(math.hypot(*_SIGNAL[1:]) / _WIDTH)
"""The best classifier: R50 60.95, R30 255.0, AUC 0.9344; correlation with X0 -0.6247."""

DECORRELATED = NormalScores(_SIGNAL[2] / _WIDTH)
"""The best function of the inputs that does not depend on X0: R50 10.96, R30 31.64, AUC 0.8271."""

_PER_NUISANCE = -_CORRELATION * _SIGNAL[1]  # by which the mean of 2.5 X1 + 2 X2 falls with X0
_SPREAD = _WIDTH * math.hypot(_SIGNAL[1] * math.sqrt(1.0 - _CORRELATION**2), _SIGNAL[2])
SHIFTED = NormalScores(
    (_SIGNAL[1] ** 2 + _SIGNAL[2] ** 2 + _PER_NUISANCE * _SIGNAL[0]) / _SPREAD,
    _WIDTH * math.hypot(*_SIGNAL[1:], _PER_NUISANCE) / _SPREAD,
)
"""The best classifier made independent of X0 after its training, which X0 itself then helps."""


def simulate(rows: int, *, seed: int) -> ThreeGaussians:
    """Draw as many events of background as of signal, one more of background if rows is odd.

    Raises:
        ConfigError: if rows or seed is negative.
    """
    if rows < 0 or seed < 0:
        msg = f"samples.three_gaussians: rows is {rows}, seed {seed}; needed: at least 0 each"
        raise ConfigError(msg)
    draws = np.random.default_rng(seed).standard_normal((rows, 3))
    signal = np.arange(rows) % 2 == 1
    of_first = np.where(signal, 0.0, _CORRELATION)
    first = of_first * draws[:, 0] + np.sqrt(1.0 - of_first**2) * draws[:, 1]
    values = _WIDTH * np.stack([draws[:, 0], first, draws[:, 2]], axis=1)
    values += signal[:, None] * np.asarray(_SIGNAL)
    return ThreeGaussians(values[:, 0], values[:, 1:], signal)


def unconstrained_score(inputs: ArrayLike) -> Floats:
    r"""Return the logarithm of the likelihood ratio of both inputs.

    .. math:: \ln\frac{p(x_1, x_2 | S)}{p(x_1, x_2 | B)} = \sum_i \frac{\mu_i x_i - \mu_i^2/2}{s^2}

    Shapes:
        inputs: (rows, 2) -> (rows,)
    """
    x, mean = np.asarray(inputs, dtype=np.float64), np.asarray(_SIGNAL[1:])
    return np.asarray((x @ mean - 0.5 * mean @ mean) / _WIDTH**2)


def decorrelated_score(inputs: ArrayLike) -> Floats:
    """Return the logarithm of the likelihood ratio of X2.

    The background that passes a cut at given X0 is a mean over X1 given X0; it is the same at all
    X0 only if the share that passes is the same at all X1, and with that X2 separates best.

    Shapes:
        inputs: (rows, 2) -> (rows,)
    """
    x, mean = np.asarray(inputs, dtype=np.float64), _SIGNAL[2]
    return np.asarray((x[:, 1] * mean - 0.5 * mean**2) / _WIDTH**2)


def shifted_score(inputs: ArrayLike, nuisance: ArrayLike) -> Floats:
    """Return the unconstrained score minus its mean for background at that X0, in unit width.

    It is the normal quantile of the conditional distribution function of background.

    Shapes:
        inputs: (rows, 2); nuisance: (rows,) -> (rows,)
    """
    x, m = np.asarray(inputs, dtype=np.float64), np.asarray(nuisance, dtype=np.float64)
    return np.asarray((x @ np.asarray(_SIGNAL[1:]) + _PER_NUISANCE * m) / _SPREAD)
