"""How a model is trained: the options of the loop, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Collection

    from hepcalib.training.penalties import PenaltyOptions

__all__ = ["SCHEDULES", "TrainingOptions", "learning_rate_factor"]

SCHEDULES = ("one_cycle", "cosine", "constant")
KEPT = ("best", "last")

_RISE = 0.3  # share of the steps in which the one-cycle rate rises
_START, _END = 1 / 25, 1e-4  # its first and last rate, relative to the highest


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of `train`, independent of model and data.

    Args:
        epochs: Largest number of passes over the training sample.
        min_steps: Least number of steps, over all epochs, unless patience ends them: a small sample
            is passed over several times in each epoch.
        batch_size: Largest number of objects in a step; batches are of nearly equal size.
        learning_rate: Highest learning rate of Adam.
        weight_decay: Decoupled weight decay (AdamW); not for Bayesian models, which have a prior.
        patience: Epochs without improvement after which training stops; None for never.
        seed: Seed of the order of the examples and of all random numbers of the model.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None leaves the setting of the process.
        schedule: "one_cycle" (rises for 30 % of the steps), "cosine" (falls to 0) or "constant".
        gradient_clip: Largest norm of the gradient; None for no limit.
        penalty: A decorrelation penalty, or None.
        keep: "best", the epoch of the smallest criterion, or "last": where epochs differ by less
            than their noise, the last one has the smallest learning rate.

    Raises:
        ConfigError: if a value is out of range or a name unknown.
    """

    epochs: int = 20
    min_steps: int = 0
    batch_size: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    gradient_clip: float | None = None
    penalty: PenaltyOptions | None = None
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "threads"):
            _require(name, getattr(self, name), minimum=1)
        for name in ("weight_decay", "seed", "min_steps"):
            _require(name, getattr(self, name), minimum=0)
        for name in ("learning_rate", "gradient_clip"):
            _require(name, getattr(self, name), minimum=math.nextafter(0, 1))
        _require_known("device", self.device, DEVICES)
        _require_known("schedule", self.schedule, SCHEDULES)
        _require_known("keep", self.keep, KEPT)
        if self.keep == "last" and self.patience is not None:
            msg = f"patience is {self.patience} with keep 'last'; the last epoch has no better one"
            raise ConfigError(msg)
        if self.penalty is not None:
            object.__setattr__(self, "penalty", self.penalty.within(self.epochs))
        if self.penalty is not None and self.penalty.ramp(self.epochs - 1) < 1.0:
            msg = (
                f"penalty: {self.penalty.pretraining_epochs} pretraining_epochs and "
                f"{self.penalty.warmup_epochs} warmup_epochs of {self.epochs} epochs; at least one "
                "epoch must have the full strength"
            )
            raise ConfigError(msg)


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the learning rate relative to the highest, after a share of all steps.

    Args:
        schedule: "one_cycle", "cosine" or "constant".
        progress: Steps done over all steps, from 0 to 1.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return _between(1.0, 0.0, progress)
    if progress < _RISE:
        return _between(_START, 1.0, progress / _RISE)
    return _between(1.0, _END, (progress - _RISE) / (1 - _RISE))


def _between(start: float, end: float, share: float) -> float:
    """Move from start to end along half a period of a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _require(name: str, value: float | None, *, minimum: float) -> None:
    if value is not None and not (minimum <= value < math.inf):
        bound = f"at least {minimum}" if minimum in {0, 1} else "positive"
        msg = f"{name} is {value}; needed: {bound} and finite"
        raise ConfigError(msg)


def _require_known(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        msg = f"unknown {name} '{value}'. {suggestion(value, known)}"
        raise ConfigError(msg)
