"""What a configuration may say against sculpting: before, in and after a training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from hepcalib.config.names import Name, Names
from hepcalib.config.numbers import Amount, Count, Positive, Range, Real, Whole

__all__ = ["Decorrelator", "Penalty", "Planing"]


class Penalty(BaseModel, extra="forbid", frozen=True):
    """A decorrelation penalty from `hepcalib.losses`, or an `adversary`.

    It acts on the background, or on `all` jets, of one or several nuisances (standard columns),
    with a `strength` or a constraint `at_most`, both after `pretraining_epochs` (by default a
    twentieth of all, at least one) and rising over `warmup_epochs`. `options` are those of the
    penalty; an adversary may know `auxiliary` columns.
    """

    name: str
    nuisance: str | Names
    strength: Positive | None = None
    at_most: Positive | None = None
    warmup_epochs: Whole = 0
    pretraining_epochs: Whole | None = None
    acts_on: Literal["background", "all"] = "background"
    auxiliary: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    damping: Amount = 10.0
    multiplier_rate: Positive = 0.1
    learning_rate: Positive = 1e-2

    @property
    def nuisances(self) -> tuple[str, ...]:
        """All nuisances, be it one."""
        return (self.nuisance,) if isinstance(self.nuisance, str) else self.nuisance


class Planing(BaseModel, extra="forbid", frozen=True):
    """Weights that give both classes the same spectrum of one or two `variables`.

    Each variable has its bin edges, or a number of bins; the spectrum is `flat` or that of a class.
    """

    variables: Annotated[dict[str, Count | tuple[Real, ...]], Field(min_length=1, max_length=2)]
    reference: Literal["flat", "signal", "background"] = "flat"


class Decorrelator(BaseModel, extra="forbid", frozen=True):
    """What takes the dependence on some `variables` from a score, fitted to background jets.

    The `score` is a tagger of `models`, or a standard column that `signal_is` high or low in. The
    background are the jets labelled 0 in `pt_range` and `mass_range` (of the soft-drop mass), GeV.
    `options` are those of the `method`. Analyses take it by its name wherever they take a tagger.
    """

    score: Name
    method: str
    datasets: Names
    variables: Annotated[Names, Field(max_length=2)]
    signal_is: Literal["high", "low"] = "high"
    pt_range: Range | None = None
    mass_range: Range | None = None
    weights: Literal["event", "none"] = "none"
    options: dict[str, Any] = {}
