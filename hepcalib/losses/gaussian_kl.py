"""The Kullback-Leibler divergence of mean-field Gaussian weights from their prior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["gaussian_kl"]


def gaussian_kl(mean: Tensor, log_variance: Tensor, prior_precision: float) -> Tensor:
    r"""Sum over all weights of KL(N(mean, variance) || N(0, 1 / prior_precision)).

    .. math:: \tfrac12 \sum_i [\tau (\mu_i^2 + \sigma_i^2) - \ln\sigma_i^2 - 1 - \ln\tau]

    It is a sum and not a mean, so that the prior keeps its strength; a training loss per example
    adds it divided by the number of training examples (not by the batch size).

    Reference: Bayes by backprop, arXiv:1505.05424.

    Args:
        mean: Means mu of the weights.
        log_variance: Natural logarithm of their variances sigma^2.
        prior_precision: Precision tau of the prior, positive.

    Shapes:
        mean, log_variance: (...), the same -> scalar

    Returns:
        The divergence [nat], never negative; differentiable in mean and log_variance.

    Raises:
        ConfigError: if the precision is not a positive number.
        ShapeError: if mean and log_variance differ in shape.
    """
    if not (prior_precision > 0 and math.isfinite(prior_precision)):
        msg = f"gaussian_kl: prior_precision is {prior_precision}; it must be positive and finite."
        raise ConfigError(msg)
    if mean.shape != log_variance.shape:
        msg = (
            f"gaussian_kl: mean has shape {tuple(mean.shape)} but log_variance "
            f"{tuple(log_variance.shape)}; they must be the same."
        )
        raise ShapeError(msg)
    # ln(tau sigma^2); expm1(u) - u keeps its digits where the posterior equals the prior
    relative = log_variance + math.log(prior_precision)
    return 0.5 * (prior_precision * mean.square() + torch.expm1(relative) - relative).sum()
