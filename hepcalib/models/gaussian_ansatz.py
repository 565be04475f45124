"""The Gaussian Ansatz: the maximum-likelihood estimate and its width from one training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn
from torch.distributions import Normal

from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models.heads import Head, NormalHead
from hepcalib.models.layers import output_layer
from hepcalib.models.model import Model, described

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.model import Labelled

__all__ = ["AnsatzEstimate", "AnsatzLoss", "GaussianAnsatz"]

AnsatzLoss = Literal["bce", "donsker_varadhan", "f_divergence"]

WIDTH = 16  # shapes that ln |C| can take between the maximum of the likelihood and its tails
PARTNERS = 16  # other rows whose z each x is paired with; costs little beside the networks


class GaussianAnsatz(Model):
    r"""Estimate of z that does not depend on the spectrum of z it was trained on.

    .. math:: T(x, z) = A(x) + (z - B(x)) D(x) + \tfrac{1}{2} C(x, z) (z - B(x))^2,
        \quad C = -e^{c(x, z)}

    Four networks are trained to tell the pairs (x, z) of the sample from pairs with the z of
    another row. At the optimum T = ln p(x|z) / p(x), so that, where D = 0, B is the z of largest
    likelihood and -1/C(x, B) the variance of a likelihood of that curvature; the prior p(z) drops
    out. As C is negative, T has its only maximum there.

    The losses, with j for pairs of the sample and m for the others, and weights w_i w_j for the
    pair of x_i with z_j:

    * ``bce``: E_j[ln(1 + r e^-T)] + r E_m[ln(1 + e^T / r)], of bounded gradient, as if there were r
      others to a pair of the sample;
    * ``donsker_varadhan``: -E_j[T] + ln E_m[e^T];
    * ``f_divergence``: -E_j[T] + E_m[e^(T-1)], whose T is larger by 1.

    In the first ``warmup`` steps, with a share that falls linearly from 1 to 0, the squared error
    of B is added to the loss, and D, which ``d_penalty`` keeps small, is part of T. Afterwards and
    in evaluation D = 0 exactly: the validation loss judges what a prediction uses. A training
    needs several times as many steps, or B keeps a memory of the prior.

    Reference: arXiv:2205.03413.

    Args:
        model: The architecture of the four networks, which start from weights of their own; of C,
            the last layer is another one. It has a NormalHead, whose shift and scale are mean and
            standard deviation of z.
        loss: One of bce, donsker_varadhan, f_divergence.
        ratio: r of bce.
        warmup: Steps until D and the squared error of B are off.
        d_penalty: Factor of the mean of |D| in the loss.

    Raises:
        ConfigError: if the model has no NormalHead of its own, the loss is unknown, the ratio is
            not positive or a number is negative or not finite.
    """

    head: NormalHead
    steps: Tensor

    def __init__(
        self,
        model: Model,
        *,
        loss: AnsatzLoss = "bce",
        ratio: float = 16.0,
        warmup: int = 200,
        d_penalty: float = 1e-3,
    ) -> None:
        super().__init__()
        if loss not in get_args(AnsatzLoss):
            known = ", ".join(get_args(AnsatzLoss))
            msg = f"GaussianAnsatz: loss is '{loss}'; needed: one of {known}"
            raise ConfigError(msg)
        if not 0 < ratio < math.inf:
            msg = f"GaussianAnsatz: ratio is {ratio}; needed: positive and finite"
            raise ConfigError(msg)
        if warmup < 0 or not 0 <= d_penalty < math.inf:
            msg = f"GaussianAnsatz: warmup is {warmup}, d_penalty {d_penalty}; needed: finite, >= 0"
            raise ConfigError(msg)
        if not isinstance(model.head, NormalHead) or "head" not in model.config:
            seen = type(model).__name__, type(model.head).__name__
            msg = f"GaussianAnsatz: {seen[0]} with a {seen[1]}; needed: MLP, PFN with a NormalHead"
            raise ConfigError(msg)
        self.criterion, self.ratio, self.warmup, self.d_penalty = loss, ratio, warmup, d_penalty
        self._described, self.head = described(model), model.head
        self.a, self.b, self.d = (_network(model, 1) for _ in range(3))
        self.c = _network(model, 1 + WIDTH)
        self.slope = nn.Parameter(torch.randn(WIDTH))
        self.shape = output_layer(WIDTH, 1).weight  # of c(x, z) - c(x, B)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": self._described,
            "loss": self.criterion,
            "ratio": self.ratio,
            "warmup": self.warmup,
            "d_penalty": self.d_penalty,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return B and ln(-1/C(x, B)) for the NormalHead, (rows, 2)."""
        return torch.cat([self.b.outputs(batch), -self.c.outputs(batch)[:, :1]], dim=1)

    def forward(self, batch: Batch) -> AnsatzEstimate:
        """Return N(z; B, -1/C(x, B)) with the T of the rows; D is part of T in training only."""
        a, b, d = (part.outputs(batch).squeeze(1) for part in (self.a, self.b, self.d))
        curvature = self.c.outputs(batch)
        share = d.new_zeros(())
        if self.training:
            share = (1 - self.steps.to(d.dtype) / max(self.warmup, 1)).clamp(min=0)
            self.steps += 1
        raw = torch.stack([b, -curvature[:, 0]], dim=1)
        return AnsatzEstimate(self, raw, a=a, d=d, hidden=curvature[:, 1:], share=share)

    def loss(
        self, predicted: AnsatzEstimate, target: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Return the loss of each row, with the z of other rows; its mean is the loss.

        Args:
            predicted: What ``forward`` returned.
            target: z, in its unit.
            weight: Weights of mean 1. The caller multiplies the result by them; here they weight
                the z of the other rows, so that both samples of pairs have the same spectrum of z.

        Shapes:
            target, weight: (rows,) -> (rows,)
        """
        other = self._others(target)
        joint, mixed = predicted.statistic(target), predicted.statistic(target[other])
        factor = torch.ones_like(mixed) if weight is None else weight[other]
        if self.criterion == "bce":
            loss = _bce(joint, mixed, factor, self.ratio)
        elif self.criterion == "donsker_varadhan":
            loss = _donsker_varadhan(joint, mixed, factor, weight)
        else:
            loss = _f_divergence(joint, mixed, factor)
        return loss + predicted.share * 0.5 * predicted.residual(target).square()

    def weighted_loss(
        self, predicted: AnsatzEstimate, target: Tensor, weight: Tensor | None
    ) -> Tensor:
        """Return the loss of each row times its weight, the other rows weighted as well."""
        loss = self.loss(predicted, target, weight)
        return loss if weight is None else loss * weight

    def regulariser(
        self,
        predicted: AnsatzEstimate,
        target: Tensor,
        *,
        rows: int,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the penalty on D, d_penalty times the weighted mean of |D|."""
        del target, rows
        size = predicted.d.abs()
        return self.d_penalty * (size if weight is None else size * weight).mean()

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Refuse a best state from within the warm-up, when D was still part of T.

        Raises:
            TrainingError: if it is.
        """
        del training, held_out
        if 0 < self.steps < self.warmup:
            msg = (
                f"GaussianAnsatz: the best state is of step {int(self.steps)}, {self.warmup} steps "
                "are warm-up; needed: several times as many steps (min_steps), or a smaller warmup"
            )
            raise TrainingError(msg)

    @torch.no_grad()
    def mutual_information(self, batch: Batch, target: Tensor) -> Tensor:
        r"""Return an estimate, on average from below, of the mutual information I(x; z) [nat].

        .. math:: I = E_{joint}[T] - \ln E_{mixed}[e^T]

        Reference: arXiv:2205.03413, arXiv:1801.04062.

        Args:
            batch: Rows of the spectrum that the information is asked for.
            target: Their z, in its unit.

        Shapes:
            target: (rows,) -> ()
        """
        estimate = self(batch)
        mixed = estimate.statistic(target[self._others(target)])
        information: Tensor = estimate.statistic(target).mean() - mixed.flatten().logsumexp(0)
        return information + math.log(mixed.numel())

    def _others(self, target: Tensor) -> Tensor:
        """Return other rows for each row, (PARTNERS, rows): random ones in training."""
        rows = len(target)
        place = order = torch.arange(rows, device=target.device)
        shifts = 1 + torch.arange(PARTNERS, device=target.device) * max(rows - 1, 1) // PARTNERS
        if self.training:
            order = torch.randperm(rows, device=target.device)
            place = order.argsort()
        return order[(place + shifts.unsqueeze(1)) % max(rows, 1)]


class AnsatzEstimate(Normal):
    """N(z; B, -1/C(x, B)) of each row, and the statistic T(x, z) that it comes from."""

    def __init__(
        self,
        ansatz: GaussianAnsatz,
        raw: Tensor,
        *,
        a: Tensor,
        d: Tensor,
        hidden: Tensor,
        share: Tensor,
    ) -> None:
        normal = ansatz.head.distribution(raw)
        super().__init__(normal.loc, normal.scale, validate_args=False)
        self._ansatz, self._hidden = ansatz, hidden
        self.a, self.d, self.share = a, d, share

    def residual(self, target: Tensor) -> Tensor:
        """Return z - B in units of the scale of z, (rows,) -> (rows,)."""
        return (target - self.loc) / self._ansatz.head.scale

    def statistic(self, target: Tensor) -> Tensor:
        """Return T(x, z) of each row with one z or several, (..., rows) -> (..., rows)."""
        pull = (target - self.loc) / self.scale
        hidden, slope, shape = self._hidden, self._ansatz.slope, self._ansatz.shape
        bent = (hidden + pull.unsqueeze(-1) * slope).tanh() - hidden.tanh()
        c = (bent @ shape.squeeze(0)).exp()  # C(x, z) / C(x, B)
        return self.a + self.share * self.d * self.residual(target) - 0.5 * c * pull.square()


class _Outputs(Head):
    """A head that stands for a number of raw outputs only."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def distribution(self, raw: Tensor) -> Distribution:
        """Refuse: what the outputs mean is up to the Ansatz."""
        msg = f"a part of a GaussianAnsatz has {raw.shape[-1]} outputs and no distribution"
        raise ConfigError(msg)


def _network(model: Model, outputs: int) -> Model:
    """Return a network of this architecture with new weights."""
    return type(model)(**{**model.config, "head": _Outputs(outputs)})


def _bce(joint: Tensor, mixed: Tensor, factor: Tensor, ratio: float) -> Tensor:
    offset = math.log(ratio)
    others = (factor * nn.functional.softplus(mixed - offset)).mean(0)
    return nn.functional.softplus(offset - joint) + ratio * others


def _donsker_varadhan(
    joint: Tensor, mixed: Tensor, factor: Tensor, weight: Tensor | None
) -> Tensor:
    both = factor if weight is None else factor * weight
    peak = mixed.detach().amax()
    return -joint + peak + ((both * (mixed - peak).exp()).sum() / both.sum()).log()


def _f_divergence(joint: Tensor, mixed: Tensor, factor: Tensor) -> Tensor:
    return -joint + (factor * (mixed - 1).exp()).mean(0)
