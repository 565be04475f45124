"""A model as a configuration describes it, built without its values: to look at what it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hepcalib import models
from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.signatures import problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hepcalib.models import Model

__all__ = ["MOST_PARAMETERS", "blueprint"]

MOST_PARAMETERS = 10**9  # 4 GB of weights, and as much again for their gradients
_MOST_TENSORS = 10_000


def blueprint(spec: Mapping[str, Any]) -> Model:
    """Return the model of a specification on the meta device, which needs no memory.

    Args:
        spec: As `hepcalib.models.build` takes it.

    Raises:
        ConfigError: if a name or keyword is unknown, a value is refused or of a wrong type, or the
            model has too many parameters.
    """
    with torch.device("meta"), _limited(MOST_PARAMETERS, _MOST_TENSORS):
        made = models.build(spec)
    _check_types(spec, "model")
    return made


def _check_types(spec: Mapping[str, Any], place: str) -> None:
    for key, value in spec.items():
        if isinstance(value, dict) and "name" in value:
            _check_types(value, f"{place}.{key}")
        elif key != "name":
            found = problem(getattr(models, spec["name"]), key, value)
            if found is not None:
                msg = f"{place}.{key}: {found}"
                raise ConfigError(msg)


@contextmanager
def _limited(numbers: int, tensors: int) -> Iterator[None]:
    """Refuse to make more parameters than that, before a loop over them has taken all memory."""
    made = [0, 0]

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            made[0] += parameter.numel()
            made[1] += 1
        if made[0] > numbers or made[1] > tensors:
            msg = (
                f"model: has more than {numbers:.0e} parameters, or than {tensors} tensors of them"
            )
            raise ConfigError(msg)

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
