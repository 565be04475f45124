"""The negative log-likelihood, for any distribution a model returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["nll"]


def nll(distribution: Distribution, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    r"""Weighted mean of the negative log-density of the targets.

    .. math:: -\frac{\sum_i w_i \ln p_i(y_i)}{\sum_i w_i}

    The density is that of the target as given: with y = log10 R, the value for R itself is larger
    by E[ln R] + ln ln 10.

    Reference: mixture-density likelihood of the cluster calibration, arXiv:2412.04370.

    Args:
        distribution: What the model predicts, one distribution per row.
        target: What was observed, in the unit the distribution is over.
        weight: Event weights of any scale with a positive sum; single ones may be negative.

    Shapes:
        distribution: batch (rows,); target: (rows, *event); weight: (rows,) -> scalar

    Returns:
        The mean [nat] in the dtype of the log-density.

    Raises:
        ShapeError: if target or weight do not have one entry per distribution.
        DataError: if there are no rows, or the weights do not sum to a positive number.
    """
    expected = distribution.batch_shape + distribution.event_shape
    if target.shape != expected:
        msg = (
            f"nll: target has shape {tuple(target.shape)}; the distribution is over "
            f"{tuple(expected)}."
        )
        raise ShapeError(msg)
    if target.numel() == 0:
        msg = "nll: no rows; the mean over nothing is not defined."
        raise DataError(msg)
    density = distribution.log_prob(target)
    if weight is None:
        return -density.mean()
    if weight.shape != density.shape:
        msg = (
            f"nll: weight has shape {tuple(weight.shape)}; one weight per row is needed, "
            f"{tuple(density.shape)}."
        )
        raise ShapeError(msg)
    total = weight.sum()
    if not (torch.isfinite(total) and total > 0):
        msg = f"nll: the weights sum to {float(total)}; the sum must be positive and finite."
        raise DataError(msg)
    return -(weight.to(density.dtype) * density).sum() / total.to(density.dtype)
