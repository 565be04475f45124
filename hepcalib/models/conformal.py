"""Intervals of guaranteed coverage after any model or wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models.heads import BernoulliHead
from hepcalib.models.model import Labelled, Model, described
from hepcalib.models.normal_parts import normal_parts
from hepcalib.models.wrapping import Wrapper

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from hepcalib.batch import Batch

__all__ = ["Conformal"]

LEAST_TAIL = 1e-12  # beside an interval: about -7 and +7 standard deviations of a normal variable
BLOCK = 1024  # rows at a time
ROUNDING = 1e-9  # of a sum of weights


class Conformal(Wrapper):
    r"""A model whose interval covers what its level says, whatever is wrong with its density.

    With the distribution function F of the pooled mixture, and n held-out rows of weights w_i:

    .. math:: t_i = \min(F_i(y_i), 1 - F_i(y_i)), \quad
        t = \max\Big\{t_i : \sum_{t_j \ge t_i} w_j \ge level\; (n + 1)\, \bar w\Big\}

    and the interval lies between the quantiles t and 1 - t. This is split conformal prediction with
    the score |F - 1/2|: without weights the rank is the ceiling of (n + 1) level, and the coverage
    of an exchangeable new row is between level and level + 1 / (n + 1). A row that is to be
    predicted counts as one of mean weight.

    With ``groups``, each of these groups of rows, cut at the quantiles of the predicted standard
    deviation of the held-out rows, has its own t, and the coverage holds in each of them. The
    central value, the density and the standard deviations stay as they are.

    The interval ends at the probability 1e-12 at the latest: if t is smaller, or there are too few
    rows for the level, the interval has this t, and ``clipped`` says so for its group. The rows
    that have chosen the epoch of the training are not quite exchangeable with new ones; a few
    epochs for many rows do not show.

    Reference: arXiv:1909.07889 (score), arXiv:1904.06019 (weights).

    Args:
        model: Any model of (log-)normal distributions or mixtures of them; it may be a wrapper. It
            is copied.
        level: Probability of the interval.
        groups: Number of groups of predicted standard deviation.

    Raises:
        ConfigError: if the model is a tagger, has no width or is conformal already, the level is
            not between 0 and 1, or there is not at least one group.
    """

    tail: Tensor
    edges: Tensor
    fitted: Tensor

    def __init__(self, model: Model, *, level: float = 0.6827, groups: int = 1) -> None:
        if isinstance(model.head, BernoulliHead):
            msg = "Conformal: the model is a tagger, whose target has no interval; needed: a width"
            raise ConfigError(msg)
        if any(isinstance(part, Conformal) for part in model.modules()):
            msg = (
                f"Conformal: {type(model).__name__} has intervals of its own; needed: one Conformal"
            )
            raise ConfigError(msg)
        if type(model).members is Model.members:
            normal_parts(
                model.head(torch.zeros(1, model.head.outputs, dtype=torch.float32)),
                where="Conformal",
            )
        if not 0.0 < level < 1.0 or groups < 1:
            msg = (
                f"Conformal: level is {level}, groups {groups}; needed: above 0 and below 1, "
                "at least 1"
            )
            raise ConfigError(msg)
        super().__init__(model)
        self.level, self.groups = level, groups
        self.register_buffer("tail", torch.full((groups,), LEAST_TAIL, dtype=torch.float64))
        self.register_buffer("edges", torch.zeros(groups - 1, dtype=torch.float64))
        self.register_buffer("fitted", torch.tensor(data=False))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {"model": described(self.model), "level": self.level, "groups": self.groups}

    @property
    def clipped(self) -> Tensor:
        """Whether the interval of a group is the widest possible one, (groups,)."""
        return self.tail <= LEAST_TAIL

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of the members of the wrapped model."""
        return self.model.member_outputs(batch)

    def members(self, batch: Batch) -> Distribution:
        """Return the members of the wrapped model."""
        return self.model.members(batch)

    @torch.no_grad()
    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit the wrapped model, then the interval to the held-out rows.

        Raises:
            ConfigError: if the members have no normal parts.
            TrainingError: if there is no held-out row, or a prediction or weight is not finite.
        """
        super().finish(training, held_out)
        tails, deviations = self._evaluated(held_out)
        weight = held_out.weight
        weight = torch.ones_like(tails) if weight is None else weight.to(tails)
        finite = tails.isfinite() & deviations.isfinite() & weight.isfinite()
        if not len(tails) or not finite.all():
            msg = (
                f"Conformal: {int(finite.sum())} of {len(tails)} held-out rows have a finite "
                "prediction, target and weight; needed: all, and at least one"
            )
            raise TrainingError(msg)
        ends = torch.arange(1, self.groups, device=tails.device) * len(tails) // self.groups
        ordered = deviations.sort().values
        # Midway, so that rounding moves no held-out row into another group.
        self.edges.copy_(0.5 * (ordered[(ends - 1).clamp(min=0)] + ordered[ends]))
        group = self._group(deviations)
        whole = self._fitted_tail(tails, weight)
        for index in range(self.groups):
            own = group == index
            found = self._fitted_tail(tails[own], weight[own]) if own.any() else whole
            self.tail[index] = max(found, LEAST_TAIL)
        self.fitted.fill_(value=True)

    def interval(self, members: Distribution) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the quantiles that bound the interval, (rows,) each.

        Args:
            members: What ``members`` returned.

        Raises:
            ConfigError: if the interval is not fitted.
        """
        if not self.fitted.item():
            msg = "Conformal: the interval is not fitted; call finish(training, held_out) first"
            raise ConfigError(msg)
        tail = self.tail.double()[self._group(_deviation(members))]
        return tail, 1.0 - tail

    def _evaluated(self, held_out: Labelled) -> tuple[Tensor, Tensor]:
        """Return the smaller tail beside the target and the standard deviation, (rows,) each."""
        tails, deviations = [], []
        for start in range(0, held_out.batch.rows, BLOCK):
            block = slice(start, start + BLOCK)
            members = self.model.members(held_out.batch.select(block))
            ends = normal_parts(members, where="Conformal").tails(held_out.target[block])
            tails.append(torch.minimum(*(end.mean(0) for end in ends)))
            deviations.append(_deviation(members))
        empty = torch.empty(0, dtype=torch.float64, device=self.tail.device)
        return torch.cat([empty, *tails]), torch.cat([empty, *deviations])

    def _fitted_tail(self, tails: Tensor, weight: Tensor) -> float:
        """Return the tail that leaves the level to the interval, 0 for too few rows."""
        tails, order = tails.sort(descending=True)
        inside = weight[order].cumsum(0)
        needed = self.level * (len(tails) + 1) * weight.mean()
        short = inside < needed - ROUNDING * weight.sum().abs()
        # Negative weights let the sum fall again: the widest interval that is needed.
        rank = int(short.nonzero().max()) + 1 if short.any() else 0
        return tails[rank].item() if rank < len(tails) else 0.0

    def _group(self, deviations: Tensor) -> Tensor:
        return torch.bucketize(deviations, self.edges.double())


def _deviation(members: Distribution) -> Tensor:
    """Return the standard deviation of the pooled mixture, (rows,), in double precision."""
    means = members.mean.double()
    variance = members.variance.double().mean(0) + (means - means.mean(0)).square().mean(0)
    return variance.sqrt()
