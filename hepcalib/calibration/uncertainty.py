"""The uncertainty of a prediction, split by where it comes from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from hepcalib.calibration.components import components
from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Uncertainty", "decompose", "pooled"]


class Uncertainty(NamedTuple):
    """Mean and standard deviations of a prediction, each (rows,), in the unit of the target."""

    mean: Tensor
    systematic: Tensor
    statistical: Tensor
    total: Tensor


def decompose(members: Distribution) -> Uncertainty:
    r"""Split the variance of a prediction into noise and the finite training sample.

    With mean mu_m and variance v_m of member m (a weight draw, or a network of an ensemble):

    .. math:: \sigma_{syst}^2 = \langle v_m \rangle, \quad
        \sigma_{stat}^2 = \langle (\mu_m - \langle\mu\rangle)^2 \rangle, \quad
        \sigma_{tot}^2 = \sigma_{syst}^2 + \sigma_{stat}^2

    The averages divide by M, so that the total is the standard deviation of the pooled mixture.

    Reference: arXiv:2412.04370, arXiv:1904.10004.

    Args:
        members: One distribution per member and row; any with a mean and a variance.

    Shapes:
        batch shape (members, rows) -> four tensors (rows,)

    Raises:
        ShapeError: if the batch shape is not (members, rows) with at least one member.
    """
    _check(members, "decompose")
    means, systematic = members.mean, members.variance.mean(0)
    statistical = (means - means.mean(0)).square().mean(0)
    return Uncertainty(
        mean=means.mean(0),
        systematic=systematic.sqrt(),
        statistical=statistical.sqrt(),
        total=(systematic + statistical).sqrt(),
    )


def pooled(members: Distribution) -> MixtureSameFamily:
    r"""Return the predictive distribution: the mixture of all components of all members.

    .. math:: p(y) = \frac{1}{M} \sum_m \sum_k \alpha_{mk} N(y; \mu_{mk}, \sigma_{mk}^2)

    (Averages of the mixture parameters would mix components that have nothing but a number in
    common.) Reference: arXiv:2412.04370.

    Args:
        members: Normal distributions or mixtures of K of them.

    Shapes:
        batch shape (members, rows) -> batch shape (rows,), members * K components

    Raises:
        ShapeError: if the batch shape is not (members, rows) with at least one member.
        ConfigError: if the members are neither normal nor mixtures of normal distributions.
    """
    _check(members, "pooled")
    parts = components(members)
    count = members.batch_shape[0]
    weights, means, deviations = (
        part.movedim(0, 1).flatten(1)
        for part in (parts.log_weights - math.log(count), parts.means, parts.deviations)
    )
    return MixtureSameFamily(
        Categorical(logits=weights, validate_args=False),
        Normal(means, deviations, validate_args=False),
        validate_args=False,
    )


def _check(members: Distribution, what: str) -> None:
    shape = torch.Size(members.batch_shape)
    if len(shape) != 2 or shape[0] == 0:
        msg = f"{what}: members of batch shape {tuple(shape)}; needed: (at least 1 member, rows)"
        raise ShapeError(msg)
