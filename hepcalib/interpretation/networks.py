"""The networks inside a model that have something to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.exceptions import ConfigError
from hepcalib.inference import resident
from hepcalib.models import Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.bundles import Bundle
    from hepcalib.inference import Handle

__all__ = ["network_of"]


def network_of(
    source: Model | Bundle | Handle | Path | str, shows: Callable[[Model], bool], *, what: str
) -> Model:
    """Return the network of a model, or the one that it wraps, that has something to show.

    Args:
        source: A model, a loaded bundle, or where one is.
        shows: Tells whether a network has it.
        what: What it is; ends the message of the error.

    Raises:
        ConfigError: if there is none, or it is one of several members and has no weights itself.
        BundleError: if the bundle cannot be read.
    """
    model = source if isinstance(source, Model) else resident(source, device="cpu").model
    for found in model.modules():
        if isinstance(found, Model) and shows(found):
            break
    else:
        msg = f"{type(model).__name__} has no {what}"
        raise ConfigError(msg)
    if next(found.parameters(), None) is None:
        msg = f"{type(model).__name__} has several networks; {what} are those of one network"
        raise ConfigError(msg)
    return found
