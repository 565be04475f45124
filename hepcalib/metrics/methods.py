"""Trainings of one method: a path over its strength, or repetitions with other seeds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hepcalib.metrics.counts import Floats
    from hepcalib.metrics.decorrelation_merits import DecorrelationMerit

__all__ = ["Method", "SeedSpread", "methods", "seed_spreads", "training_name"]

Kind: TypeAlias = Literal["single", "strength", "seed"]

_NAME = re.compile(r"(?P<method>.+), (?P<kind>strength|seed) (?P<value>[\d.]+(?:e[-+]?\d+)?)")


class Method(NamedTuple):
    """The trainings of a method, by what they differ in, from the lowest value to the highest."""

    name: str
    kind: Kind
    values: tuple[float, ...]  # none of a single training
    trainings: tuple[str, ...]

    @property
    def representative(self) -> str:
        """The training that stands for the method: the strongest, or that of the first seed."""
        return self.trainings[0 if self.kind == "seed" else -1]


class SeedSpread(NamedTuple):
    """Mean and standard deviation over the seeds of a method."""

    method: str
    seeds: int
    auc: float
    auc_spread: float
    rejections: Floats  # (working points,)
    rejection_spreads: Floats
    one_over_jsd: float
    one_over_jsd_spread: float
    deviation: float  # of the efficiency from flat
    deviation_spread: float
    correlation: float
    correlation_spread: float


def training_name(method: str, *, kind: Kind = "single", value: float = 0.0) -> str:
    """Return how one training of a method is called in histograms, as `methods` understands it."""
    return method if kind == "single" else f"{method}, {kind} {value:.10g}"


def methods(names: Iterable[str]) -> dict[str, Method]:
    """Return the methods behind the names of trainings, in the order of their first one."""
    found: dict[str, list[tuple[float, str, Kind]]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            found.setdefault(name, []).append((0.0, name, "single"))
        else:
            kind: Kind = "seed" if match["kind"] == "seed" else "strength"
            found.setdefault(match["method"], []).append((float(match["value"]), name, kind))
    made = {}
    for method, trainings in found.items():
        values, ordered, kinds = zip(*sorted(trainings), strict=True)
        shown = () if kinds[0] == "single" else tuple(values)
        made[method] = Method(method, kinds[0], shown, tuple(ordered))
    return made


def seed_spreads(merits: Mapping[str, DecorrelationMerit]) -> dict[str, SeedSpread]:
    """Return mean and spread of the figures of merit of each method with several seeds.

    Args:
        merits: What `decorrelation_merits` found, by names that `training_name` gave.
    """
    found = {}
    for name, method in methods(merits).items():
        if method.kind != "seed" or len(method.trainings) < 2:
            continue
        chosen = [merits[training] for training in method.trainings]
        table = np.array(
            [
                [
                    one.auc,
                    one.jsd.one_over,
                    one.flatness.deviation,
                    one.correlation.squared,
                    *(rejection.rejection for rejection in one.rejections),
                ]
                for one in chosen
            ]
        )
        mean, spread = table.mean(axis=0), table.std(axis=0, ddof=1)
        found[name] = SeedSpread(
            method=name,
            seeds=len(chosen),
            auc=float(mean[0]),
            auc_spread=float(spread[0]),
            rejections=mean[4:],
            rejection_spreads=spread[4:],
            one_over_jsd=float(mean[1]),
            one_over_jsd_spread=float(spread[1]),
            deviation=float(mean[2]),
            deviation_spread=float(spread[2]),
            correlation=float(mean[3]),
            correlation_spread=float(spread[3]),
        )
    return found
