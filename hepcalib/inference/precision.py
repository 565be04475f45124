"""How a model is evaluated: its precision, and whether it is compiled."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models import Model

__all__ = ["PRECISIONS", "Members", "evaluation"]

PRECISIONS = ("float32", "bfloat16")

Members: TypeAlias = "Callable[[Batch], Distribution]"


def evaluation(model: Model, *, precision: str = "float32", compile: bool = False) -> Members:
    """Return the function that predicts the members of a batch.

    Args:
        model: The model, on its device and in evaluation mode.
        precision: float32, or bfloat16 for the products of matrices; heads stay in float32.
        compile: Whether to compile the model, once per process and architecture, for blocks of any
            size.

    Raises:
        ConfigError: if there is no such precision.
    """
    if precision not in PRECISIONS:
        msg = f"unknown precision '{precision}'. {suggestion(precision, PRECISIONS)}"
        raise ConfigError(msg)
    members = functools.partial(_compiled(type(model)), model) if compile else model.members
    return members if precision == "float32" else functools.partial(_halved, model, members)


@functools.cache
def _compiled(kind: type[Model]) -> Callable[[Model, Batch], Distribution]:
    return torch.compile(kind.members, dynamic=True)


def _halved(model: Model, members: Members, batch: Batch) -> Distribution:
    device = next(model.parameters()).device.type
    with torch.autocast(device, dtype=torch.bfloat16), _single(model):
        return members(batch)


@contextmanager
def _single(model: Model) -> Iterator[None]:
    """Let the head compute in float32: a logarithm or an exponential of three digits is wrong."""

    def widened(_: Any, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.float() for value in outputs)

    hook = model.head.register_forward_pre_hook(widened)
    try:
        yield
    finally:
        hook.remove()
