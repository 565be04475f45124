"""The capsule head: two vectors that parts of the network agree on, one for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.distributions import Bernoulli

from hepcalib.exceptions import ConfigError
from hepcalib.models.heads.bernoulli import BernoulliHead

if TYPE_CHECKING:
    from torch import Size, Tensor

__all__ = ["CapsuleHead", "CapsuleLoss", "Capsules", "margin_loss", "routed", "squashed"]

CapsuleLoss = Literal["likelihood", "margin"]

CLASSES = 2  # background and signal
MOST_ROUTING = 100
LARGE, SMALL, ABSENT = 0.9, 0.1, 0.5


class CapsuleHead(BernoulliHead):
    r"""The probability of being signal from the lengths of two capsules v_0 and v_1.

    .. math:: P(y = 1) = \frac{|v_1|}{|v_0| + |v_1|}

    The raw outputs are what each of N primary capsules predicts for the two vectors, u_ij, up to a
    constant that gives both the length 1/2 where the raw outputs are 0. `routed` turns predictions
    into vectors. The matrices W_ij of the prediction are in the last linear layer of the model,
    where each primary capsule is the whole of what that layer sees.

    With ``loss="margin"`` the loss is that of `margin_loss` in the place of minus the log
    likelihood. Its probability orders the jets, but is not calibrated, and no posterior follows
    from it; "likelihood" is the cross-entropy of the same probability.

    Reference: arXiv:1710.09829, arXiv:1906.11265, arXiv:2403.11826.

    Args:
        capsules: Number N of primary capsules.
        dimension: Number of components of each vector.
        routing: Number of times that the routing is computed, at least 1.
        loss: "likelihood" or "margin".

    Raises:
        ConfigError: if a number is not at least 1 or the loss is unknown.
    """

    def __init__(
        self,
        capsules: int = 8,
        *,
        dimension: int = 8,
        routing: int = 3,
        loss: CapsuleLoss = "margin",
    ) -> None:
        super().__init__()
        least = min(capsules, dimension, routing)
        if least < 1 or routing > MOST_ROUTING or loss not in get_args(CapsuleLoss):
            msg = (
                f"CapsuleHead: capsules is {capsules}, dimension {dimension}, routing {routing}, "
                f"loss '{loss}'; needed: >= 1 each, routing <= {MOST_ROUTING}, one of "
                f"{', '.join(get_args(CapsuleLoss))}"
            )
            raise ConfigError(msg)
        self.capsules, self.dimension, self.routing, self.loss = capsules, dimension, routing, loss
        self.outputs = capsules * CLASSES * dimension

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "capsules": self.capsules,
            "dimension": self.dimension,
            "routing": self.routing,
            "loss": self.loss,
        }

    def vectors(self, raw: Tensor) -> Tensor:
        """Return the sums s_0 and s_1 before they are squashed, (..., 2, dimension)."""
        predicted = raw.reshape(*raw.shape[:-1], self.capsules, CLASSES, self.dimension)
        first = torch.zeros_like(predicted[..., :1]) + CLASSES / self.capsules
        predicted = torch.cat([predicted[..., :1] + first, predicted[..., 1:]], dim=-1)
        return routed(predicted, routing=self.routing)

    def distribution(self, raw: Tensor) -> Bernoulli:
        """Return the Bernoulli distribution."""
        squares = self.vectors(raw).square().sum(-1)
        capsules = Capsules(squares / (1.0 + squares))
        if self.loss == "margin":
            return capsules
        return Bernoulli(logits=capsules.logits, validate_args=False)


class Capsules(Bernoulli):
    r"""The Bernoulli distribution from two lengths, judged by the margin loss.

    .. math:: \ln P(y) \equiv -l(|v_0|, |v_1|, y)

    Args:
        lengths: Those of the capsules of background and signal, from 0 to 1.

    Shapes:
        lengths: (..., 2) -> batch shape (...)
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        background, signal = lengths.clamp(min=torch.finfo(lengths.dtype).tiny).log().unbind(-1)
        super().__init__(logits=signal - background, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the loss of targets, which broadcast with the batch shape."""
        return -margin_loss(self.lengths, value)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> Capsules:
        """Return the distribution with a larger batch shape."""
        return Capsules(self.lengths.expand(*batch_shape, CLASSES))


def routed(predicted: Tensor, *, routing: int) -> Tensor:
    r"""Return the vectors that predictions agree on, by routing.

    .. math:: c_{ij} = \frac{e^{b_{ij}}}{\sum_k e^{b_{ik}}}, \quad s_j = \sum_i c_{ij} u_{ij},
        \quad b_{ij} \leftarrow b_{ij} + u_{ij} \cdot v_j

    from b = 0, with v_j the squashed s_j.

    Reference: arXiv:1710.09829.

    Args:
        predicted: What each of N capsules predicts for each of J vectors, u_ij.
        routing: Number of times that c and s are computed.

    Shapes:
        predicted: (..., N, J, D) -> (..., J, D)
    """
    agreement = torch.zeros_like(predicted[..., 0])
    for step in range(routing):
        share = agreement.softmax(-1).unsqueeze(-1)
        total = (share * predicted).sum(-3)
        if step + 1 < routing:
            agreement = agreement + (predicted * squashed(total).unsqueeze(-3)).sum(-1)
    return total


def squashed(vector: Tensor) -> Tensor:
    r"""Return the vector with a length below 1.

    .. math:: v = \frac{s |s|}{1 + |s|^2}

    Shapes:
        vector: (..., D) -> (..., D)
    """
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    factor: Tensor = length / (1.0 + length.square())
    return vector * factor


def margin_loss(lengths: Tensor, target: Tensor) -> Tensor:
    r"""Return the loss that wants a long vector for the class and short ones for the others.

    .. math:: l = \sum_k T_k \max(0, 0.9 - |v_k|)^2 + 0.5 (1 - T_k) \max(0, |v_k| - 0.1)^2

    with T_1 = y and T_0 = 1 - y. Reference: arXiv:1710.09829.

    Args:
        lengths: Those of the vectors of background and signal.
        target: y, 1 for signal and 0 for background, or between.

    Shapes:
        lengths: (..., 2); target: (...) -> (...)
    """
    wanted = torch.stack([1.0 - target, target], dim=-1)
    too_short = (LARGE - lengths).clamp(min=0.0).square()
    too_long = ABSENT * (lengths - SMALL).clamp(min=0.0).square()
    return (wanted * too_short + (1.0 - wanted) * too_long).sum(-1)
