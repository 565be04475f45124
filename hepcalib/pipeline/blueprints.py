"""A model as a configuration describes it, built without its values: to look at what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hepcalib.exceptions import ConfigError
from hepcalib.models.outline import outline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.models import Model

__all__ = ["MOST_PARAMETERS", "blueprint"]

MOST_PARAMETERS = 10**9  # 4 GB of weights, and as much again for their gradients


def blueprint(spec: Mapping[str, Any]) -> Model:
    """Return the model of a specification with shapes instead of numbers.

    Args:
        spec: As `hepcalib.models.build` takes it.

    Raises:
        ConfigError: if a name or keyword is unknown, a value is refused or of a wrong type, or the
            model has too many parameters or parts.
    """
    made = outline(spec)
    numbers = sum(parameter.numel() for parameter in made.parameters())
    if numbers > MOST_PARAMETERS:
        msg = f"model: has {numbers:.2g} parameters; needed: at most {MOST_PARAMETERS:.0e}"
        raise ConfigError(msg)
    return made
