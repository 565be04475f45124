"""The pinball loss: its minimum is a quantile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pinball"]


def pinball(residual: Tensor, *, probability: float) -> Tensor:
    r"""Loss of each residual; its mean is smallest for the quantile p of the target.

    .. math:: \max(-p u, (1 - p) u)

    Args:
        residual: u = predicted - true.
        probability: The fraction p of targets below the prediction.

    Shapes:
        residual: (...) -> (...)

    Raises:
        ConfigError: if p is not between 0 and 1.
    """
    if not 0.0 < probability < 1.0:
        msg = f"pinball: probability is {probability}; needed: above 0 and below 1"
        raise ConfigError(msg)
    return torch.maximum(-probability * residual, (1.0 - probability) * residual)
