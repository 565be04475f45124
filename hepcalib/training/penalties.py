"""What keeps a score from telling a nuisance: a penalty, a constraint or an adversary."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from hepcalib import losses
from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.training.examples import Examples

__all__ = ["ADVERSARY", "NAMES", "Penalty", "PenaltyOptions", "penalty"]

ADVERSARY = "adversary"
NAMES = (ADVERSARY, *losses.PENALTIES)
# The fluctuation of a moment decomposition grows with the spread of the scores: what is not
# subtracted presses them together. That of a distance correlation does not depend on the spread.
_IN_A_TRAINING: dict[str, dict[str, Any]] = {"moment_decomposition": {"unbiased": True}}
_SEPARATING = 0.05  # share of the epochs before a penalty, by default
_VIOLATION = 1000.0  # nat that a violation as large as the bound counts when epochs are compared


@dataclass(frozen=True, kw_only=True)
class PenaltyOptions:
    """Which penalty, and how strong.

    The strength is fixed, or set by a constraint: `at_most` keeps the penalty below a bound, with a
    multiplier that grows while it is above (modified differential multipliers). What has to be
    below is the penalty of a batch, which is not 0 for an independent score: of n background jets
    about 3 / n for a distance correlation (0 if `unbiased`). A bound below that is never met, and
    the multiplier grows for ever. A moment decomposition is `unbiased` here unless told otherwise.

    A strength that acts before the score separates may turn it round for good: among the scores
    that do not know the nuisance, the way from the wrong sign to the right one leads through those
    that separate nothing. The first epochs are therefore without penalty.

    Args:
        name: One of `hepcalib.losses.PENALTIES`, or "adversary".
        strength: Factor of the penalty in the loss.
        at_most: Largest value of the penalty, instead of a strength; not for an adversary.
        warmup_epochs: Epochs over which strength or constraint rise linearly from 0.
        pretraining_epochs: Epochs before that without penalty, in which an adversary already
            learns; None for a twentieth of the training and at least one, as far as the warm-up
            leaves room for them.
        acts_on: "background" or "all": the rows that the penalty sees.
        options: Keywords of the penalty function or of `hepcalib.losses.Adversary`.
        damping: Factor of the squared violation of a constraint.
        multiplier_rate: Growth of the multiplier per step and violation.
        learning_rate: Constant learning rate of the adversary.

    Raises:
        ConfigError: if a name or option is unknown, or a value is out of range.
    """

    name: str
    strength: float | None = None
    at_most: float | None = None
    warmup_epochs: int = 0
    pretraining_epochs: int | None = None
    acts_on: Literal["background", "all"] = "background"
    options: Mapping[str, Any] = field(default_factory=dict)
    damping: float = 10.0
    multiplier_rate: float = 0.1
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            msg = f"unknown penalty '{self.name}'. {suggestion(self.name, NAMES)}"
            raise ConfigError(msg)
        if (self.strength is None) == (self.at_most is None):
            msg = f"penalty: strength {self.strength}, at_most {self.at_most}; needed: one of them"
            raise ConfigError(msg)
        if self.name == ADVERSARY and self.at_most is not None:
            msg = "penalty: an adversary has no value that at_most could bound; give a strength"
            raise ConfigError(msg)
        if self.acts_on not in {"background", "all"}:
            msg = f"penalty: acts_on is '{self.acts_on}'; needed: background or all"
            raise ConfigError(msg)
        least = {"strength": 0.0, "warmup_epochs": 0, "pretraining_epochs": 0, "damping": 0.0}
        positive = dict.fromkeys(("at_most", "multiplier_rate", "learning_rate"), math.ulp(0.0))
        for key, low in (least | positive).items():
            value = getattr(self, key)
            if value is not None and not low <= value < math.inf:
                bound = "at least 0" if key in least else "positive"
                msg = f"penalty_{key} is {value}; needed: {bound} and finite"
                raise ConfigError(msg)
        self._check_options()

    def _check_options(self) -> None:
        target = losses.Adversary if self.name == ADVERSARY else getattr(losses, self.name)
        filled = {"weight", "score", "nuisance", "nuisances", "auxiliary"}
        allowed = inspect.signature(target).parameters.keys() - filled
        for key in self.options:
            if key not in allowed:
                msg = f"unknown option '{key}' of {self.name}. {suggestion(key, allowed)}"
                raise ConfigError(msg)

    def ramp(self, epoch: int) -> float:
        """Return the share of the strength in an epoch, counted from 0."""
        begun = epoch + 1 - (self.pretraining_epochs or 0)
        return min(1.0, max(0, begun) / (self.warmup_epochs + 1))

    def within(self, epochs: int) -> PenaltyOptions:
        """Return the options with the epochs of pretraining that a training of this length has."""
        if self.pretraining_epochs is not None:
            return self
        room = max(0, epochs - self.warmup_epochs - 1)
        return replace(self, pretraining_epochs=min(math.ceil(_SEPARATING * epochs), room))


class Penalty(nn.Module, ABC):
    """A penalty in a training: what it measures, what it adds to the loss, how epochs compare."""

    def __init__(self, options: PenaltyOptions) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def value(self, score: Tensor, examples: Examples) -> Tensor:
        """Return the penalty of the rows it acts on; 0 where there are fewer than two."""

    @abstractmethod
    def cost(self, score: Tensor, examples: Examples, *, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the penalty, and what it adds to the loss in an epoch, counted from 0."""

    def react(self, value: float, *, epoch: int) -> None:
        """Follow up a step that has met this penalty."""

    @abstractmethod
    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        """Return what is the smaller, the better an epoch, from likelihood and penalty."""

    def strength(self, epoch: int) -> float:
        """Return the strength in an epoch, counted from 0; of a constraint, from 0 to 1."""
        full = 1.0 if self.options.strength is None else self.options.strength
        return full * self.options.ramp(epoch)

    def _rows(self, examples: Examples) -> Tensor:
        if self.options.acts_on == "all" or examples.background is None:
            return torch.arange(len(examples.target), device=examples.target.device)
        return examples.background.nonzero().squeeze(1)


class _Function(Penalty):
    """A function of score and nuisance, times a strength."""

    def value(self, score: Tensor, examples: Examples) -> Tensor:
        rows = self._rows(examples)
        if examples.nuisance is None or len(rows) < 2:
            return score.new_zeros(())
        weight = None if examples.weight is None else examples.weight[rows]
        function = getattr(losses, self.options.name)
        options = _IN_A_TRAINING.get(self.options.name, {}) | dict(self.options.options)
        result: Tensor = function(score[rows], examples.nuisance[rows], weight=weight, **options)
        return result

    def cost(self, score: Tensor, examples: Examples, *, epoch: int) -> tuple[Tensor, Tensor]:
        value = self.value(score, examples)
        return value, self.strength(epoch) * value

    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        del epoch
        return nll + (self.options.strength or 0.0) * value


class _Constraint(_Function):
    r"""A function of score and nuisance that shall not exceed a bound.

    .. math:: L + \frac{\max(0, \lambda + c (g - \epsilon))^2 - \lambda^2}{2 c}, \quad
        \lambda \leftarrow \max(0, \lambda + \eta (g - \epsilon))

    the augmented Lagrangian of g <= epsilon; without damping, L + lambda (g - epsilon).
    """

    multiplier: Tensor

    def __init__(self, options: PenaltyOptions) -> None:
        super().__init__(options)
        self.register_buffer("multiplier", torch.zeros((), dtype=torch.float64))

    def cost(self, score: Tensor, examples: Examples, *, epoch: int) -> tuple[Tensor, Tensor]:
        value = self.value(score, examples)
        excess, force = value - self._bound, self.multiplier.to(value.dtype)
        damping = self.options.damping
        if damping:
            added = ((force + damping * excess).clamp(min=0.0).square() - force**2) / (2 * damping)
        else:
            added = force * excess
        return value, self.options.ramp(epoch) * added

    @torch.no_grad()
    def react(self, value: float, *, epoch: int) -> None:
        growth = self.options.ramp(epoch) * self.options.multiplier_rate * (value - self._bound)
        self.multiplier.add_(growth).clamp_(min=0.0)

    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        del epoch
        return nll + _VIOLATION * max(0.0, value / self._bound - 1.0)

    @property
    def _bound(self) -> float:
        return self.options.at_most or 0.0


class _Adversarial(Penalty):
    """A network that guesses the nuisance; the score learns against it."""

    def __init__(self, options: PenaltyOptions, examples: Examples) -> None:
        super().__init__(options)
        nuisance, auxiliary = examples.nuisance, examples.auxiliary
        if nuisance is None:
            msg = "penalty: an adversary needs the nuisance of the training sample"
            raise ConfigError(msg)
        self.adversary = losses.Adversary(
            nuisances=1 if nuisance.dim() == 1 else nuisance.shape[1],
            auxiliary=0 if auxiliary is None else auxiliary.shape[1],
            **options.options,
        )
        rows = self._rows(examples)
        self.adversary.to(nuisance.device)
        self.adversary.fit(nuisance[rows], None if auxiliary is None else auxiliary[rows])

    def value(self, score: Tensor, examples: Examples) -> Tensor:
        rows, nuisance, auxiliary = self._rows(examples), examples.nuisance, examples.auxiliary
        if nuisance is None or len(rows) < 2:
            return score.new_zeros(())
        loss: Tensor = self.adversary(
            score[rows],
            nuisance[rows],
            weight=None if examples.weight is None else examples.weight[rows],
            auxiliary=None if auxiliary is None else auxiliary[rows],
        )
        return loss

    def cost(self, score: Tensor, examples: Examples, *, epoch: int) -> tuple[Tensor, Tensor]:
        turned = losses.reversed_gradient(score, strength=self.strength(epoch))
        value = self.value(turned, examples)
        return value, value

    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        # A game has no value that falls: its last state is the one that both sides have reached.
        del nll, value
        return -float(epoch)


def penalty(options: PenaltyOptions, examples: Examples) -> Penalty:
    """Return the penalty of a training.

    Args:
        options: Which one, and how strong.
        examples: The training sample, whose nuisances set the scales of an adversary.

    Raises:
        ConfigError: if the options do not fit the penalty.
        DataError: if a nuisance of an adversary is constant.
    """
    if options.name == ADVERSARY:
        return _Adversarial(options, examples)
    return _Function(options) if options.at_most is None else _Constraint(options)
