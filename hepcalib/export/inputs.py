"""The input transforms of a bundle: as part of a graph, and as the list of the Athena tool."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.features.transforms import Chain, Clip, Identity, Log10, SignedCbrt, Standardise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from hepcalib.export.graph import Graph
    from hepcalib.features import Inputs

__all__ = ["AthenaTransform", "add_transforms", "athena_transforms", "probe"]


class AthenaTransform(NamedTuple):
    """One input as the Athena tool prepares it; the values are limited to a range before that."""

    feature: str
    unit: str
    transform: str  # Standard, LogTen, LogTenStandard or Identity
    parameters: dict[str, float]
    minimum: float | None  # of the value itself; the host has to see to it
    maximum: float | None


def athena_transforms(inputs: Inputs) -> list[AthenaTransform]:
    r"""Return the object features' transforms in the terms of the Athena tool, in order.

    .. math:: Standard: (x - mean) / std, \quad
        LogTenStandard: (\log_{10}(x - xmin + eps) - mean) / std

    xmin and eps are 0 here: what keeps the argument of a logarithm positive is the minimum.

    Args:
        inputs: The fitted inputs of a bundle.

    Raises:
        ConfigError: naming the features whose transforms the tool does not have.
    """
    found = [
        _athena(name, definition["unit"], _steps(chain))
        for name, definition, chain in zip(
            inputs.names, inputs.definition["features"], _chains(inputs), strict=True
        )
    ]
    unknown = [name for name, entry in zip(inputs.names, found, strict=True) if entry is None]
    if unknown:
        msg = (
            f"the Athena tool has no transform like that of {', '.join(unknown)}; "
            "needed: write_onnx(..., raw_inputs=True), which has the transforms in the graph"
        )
        raise ConfigError(msg)
    return [entry for entry in found if entry is not None]


def add_transforms(graph: Graph, inputs: Inputs, features: str) -> str:
    """Add the transforms of raw features (n, F) to a graph; return the transformed ones."""
    count = len(inputs.names)
    columns = (
        graph.ops("Split", features, graph.constant([1] * count, "int64"), results=count, axis=1)
        if count > 1
        else [features]
    )
    done = []
    for column, chain in zip(columns, _chains(inputs), strict=True):
        value = column
        for step in _steps(chain):
            value = _add(graph, value, step)
        done.append(value)
    return graph.op("Concat", *done, axis=1)


def probe(inputs: Inputs, *, rows: int = 64, seed: int = 0) -> Batch:
    """Return raw features (rows, F) spread over the validity ranges of the inputs."""
    random = torch.Generator().manual_seed(seed)
    low, high = inputs.robust_ranges.double().cpu().unbind(1)
    share = torch.rand(rows, len(low), generator=random, dtype=torch.float64)
    positive = low > 0
    ratio = torch.where(positive, high / low.where(positive, high), torch.ones_like(low))
    values = torch.where(positive, low * ratio**share, low + (high - low) * share)
    return Batch(features=values.float().to(inputs.robust_ranges.device))


def _athena(name: str, unit: str, steps: list[nn.Module]) -> AthenaTransform | None:
    limits: tuple[float | None, float | None] = (None, None)
    rest = list(steps)
    if rest and isinstance(rest[0], Clip):
        limits = (float(rest[0].low), float(rest[0].high))
        rest = rest[1:]
    kinds = [type(step) for step in rest]
    constants: dict[str, float] = {}
    if kinds[:1] == [Log10]:
        floor = float(cast("Log10", rest[0]).floor)
        limits = (max(floor, limits[0] or floor), limits[1])
        constants |= {"xmin": 0.0, "eps": 0.0}
    if kinds[-1:] == [Standardise]:
        last = cast("Standardise", rest[-1])
        constants |= {"mean": float(last.mean), "std": float(last.std)}
    names = {
        (): "Identity",
        (Standardise,): "Standard",
        (Log10,): "LogTen",
        (Log10, Standardise): "LogTenStandard",
    }
    transform = names.get(tuple(kind for kind in kinds if kind is not Identity))
    if transform is None:
        return None
    if transform == "LogTen":
        constants = {}
    return AthenaTransform(name, unit, transform, constants, *limits)


def _add(graph: Graph, x: str, step: nn.Module) -> str:
    if isinstance(step, Log10):
        floored = graph.op("Max", x, graph.constant(float(step.floor)))
        return graph.op("Mul", graph.op("Log", floored), graph.constant(1.0 / math.log(10.0)))
    if isinstance(step, SignedCbrt):
        root = graph.op("Pow", graph.op("Abs", x), graph.constant(1.0 / 3.0))
        return graph.op("Mul", graph.op("Sign", x), root)
    if isinstance(step, Clip):
        limits = (graph.constant(float(step.low)), graph.constant(float(step.high)))
        return graph.op("Clip", x, *limits)
    if isinstance(step, Standardise):
        shifted = graph.op("Sub", x, graph.constant(float(step.mean)))
        return graph.op("Div", shifted, graph.constant(float(step.std)))
    if isinstance(step, Identity):
        return x
    msg = f"transform {type(step).__name__} has no counterpart in the graph"
    raise ConfigError(msg)


def _chains(inputs: Inputs) -> Sequence[Chain]:
    return cast("Sequence[Chain]", inputs.transforms)


def _steps(chain: Chain) -> list[nn.Module]:
    """Return the elementary transforms, chains within chains opened."""
    steps: list[nn.Module] = []
    for step in chain.steps:
        steps += _steps(step) if isinstance(step, Chain) else [step]
    return steps
