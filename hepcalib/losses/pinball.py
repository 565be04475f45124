"""The pinball loss: its minimum is a quantile."""

from __future__ import annotations

import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError

__all__ = ["pinball"]


def pinball(residual: Tensor, *, probability: float | Tensor) -> Tensor:
    r"""Loss of each residual; its mean is smallest for the quantile p of the target.

    .. math:: \max(-p u, (1 - p) u)

    Args:
        residual: u = predicted - true.
        probability: The fraction p of targets below the prediction, or one per column.

    Shapes:
        residual: (...) or (..., columns); probability: scalar or (columns,) -> as residual

    Raises:
        ConfigError: if p is not between 0 and 1.
    """
    values = probability.flatten().tolist() if isinstance(probability, Tensor) else [probability]
    for value in values:
        if not 0.0 < value < 1.0:
            msg = f"pinball: probability is {value}; needed: above 0 and below 1"
            raise ConfigError(msg)
    return torch.maximum(-probability * residual, (1.0 - probability) * residual)
