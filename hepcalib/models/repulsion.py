"""Ensembles whose members repel each other, so that their spread is that of the posterior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models.ensembles import DeepEnsemble

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.models.model import Model

__all__ = ["RepulsiveEnsemble", "kernel_repulsion"]


class RepulsiveEnsemble(DeepEnsemble):
    r"""A deep ensemble whose members keep apart and have a prior: particles of the posterior.

    .. math:: loss = \frac{1}{M} \sum_i \left[ \frac{1}{B} \sum_b l_{ib}
        + \frac{\alpha}{N} \left( \frac{\sum_j k(l_i, l_j)}{\sum_j k_{ij}} - 1 \right)
        + \frac{\tau}{2 N} |\theta_i|^2 \right], \quad l_{ib} = -\ln p(y_b | x_b, \theta_i)

    N is the size of the training sample, and |theta|^2 is that of the weights: biases are free, as
    in a Bayesian model. For the repulsion see `kernel_repulsion`.

    Reference: arXiv:2106.11642, arXiv:2412.04370.

    Args:
        model: The architecture: any model of one network. Its weights are not used.
        members: Number M of networks, at least 2 if they repel each other.
        seed: Seed of the first weights; those of a member depend on it and the member's number.
        repulsion: Its strength alpha; 1 samples the posterior, 0 leaves M fits with a prior.
        prior_precision: Precision tau of the normal prior of each weight; 0 is no prior.

    Raises:
        ConfigError: if a single member shall repel others, repulsion or prior precision is
            negative or not finite, or as for `DeepEnsemble`.
    """

    def __init__(
        self,
        model: Model,
        *,
        members: int = 10,
        seed: int = 0,
        repulsion: float = 1.0,
        prior_precision: float = 1.0,
    ) -> None:
        super().__init__(model, members=members, seed=seed)
        if members < 2 and repulsion:
            msg = f"RepulsiveEnsemble: members is {members}; needed: at least 2"
            raise ConfigError(msg)
        for what, value in (("repulsion", repulsion), ("prior_precision", prior_precision)):
            if not 0 <= value < math.inf:
                msg = f"RepulsiveEnsemble: {what} is {value}; needed: finite, at least 0"
                raise ConfigError(msg)
        self.repulsion, self.prior_precision = repulsion, prior_precision

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            **super().config,
            "repulsion": self.repulsion,
            "prior_precision": self.prior_precision,
        }

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return the prior, and in training the repulsion, which is 0 but has a gradient.

        Args:
            predicted: What ``forward`` returned, batch shape (members, rows of the batch).
            target: (rows of the batch,).
            rows: Number N of training rows.
            weight: (rows of the batch,) of mean 1 over the training sample; None for 1. A row of
                weight 2 counts twice in the distance of two members; the sign has no part in it.
        """
        weights = [value for value in self.stacked().values() if value.dim() > 2]
        squares = sum((weight.square().sum() for weight in weights), target.new_zeros(()))
        result = 0.5 * self.prior_precision * squares / (self.size * rows)
        if self.training and self.repulsion:
            members = self.loss(predicted, target)
            if weight is not None:
                members = members * weight.abs().sqrt()
            result = result + self.repulsion / rows * kernel_repulsion(members)
        return result


def kernel_repulsion(members: Tensor) -> Tensor:
    r"""Return 0, with a gradient whose descent drives the members apart.

    .. math:: \frac{1}{M} \sum_i \left( \frac{\sum_j k(x_i, x_j)}{\sum_j k_{ij}} - 1 \right),
        \quad k = e^{-d^2 / 2h}, \quad h = \frac{\mathrm{median}(d_{ij}^2)}{2 \ln(M + 1)}

    with d the distance of two members. The gradient acts through x_i only: neither x_j, nor the
    denominator, nor the bandwidth h has one. Members that are all the same stay so.

    Together with the mean over members of -ln p(x_i), descent leads to particles of p: about as
    wide as p once they are smoothed by the kernel, whose variance is h.

    Reference: arXiv:2106.11642.

    Args:
        members: Coordinates of each member: the per-event losses, or the weights themselves.

    Shapes:
        members: (M, D) -> scalar

    Raises:
        ShapeError: if the shape is another one or there are fewer than two members.
    """
    if members.dim() != 2 or len(members) < 2:
        msg = f"kernel_repulsion: members of shape {tuple(members.shape)}; needed: (at least 2, D)"
        raise ShapeError(msg)
    with torch.no_grad():
        push = _push(members)
    return ((members - members.detach()) * push).sum() / len(members)


def _push(members: Tensor) -> Tensor:
    """Return the derivative of ln sum_j k_ij by x_i, (M, D)."""
    # Differences and not a matrix product, which has no digits left for members close together.
    squares = torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist").square()
    width = bandwidth(squares)
    share = torch.softmax(-0.5 * squares / width, dim=1)
    centred = members - members.mean(0)
    return torch.where(width > 0, (share @ centred - centred) / width, 0.0)


def bandwidth(squares: Tensor) -> Tensor:
    """Return the median heuristic for squared distances (M, M), their diagonal included."""
    return squares.flatten().quantile(0.5) / (2 * math.log(len(squares) + 1))
