"""Where a model is, and the one copy of it that a process has."""

from __future__ import annotations

import copy
import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hepcalib import bundles
from hepcalib.bundles import Bundle
from hepcalib.exceptions import BundleError
from hepcalib.training.devices import resolve_device

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RUNNING", "Handle", "loads", "resident"]

# One thread at a time loads a model, and one uses it: weight draws are set on its layers.
_LOADING, RUNNING = threading.Lock(), threading.Lock()


@dataclass(frozen=True)
class Handle:
    """Where a bundle is and which one it must be: all a worker needs, picklable and small."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """Return the handle of the bundle that is at this path now.

        Raises:
            BundleError: if bundle.json is missing, damaged or of another version.
        """
        return cls(path=str(Path(path).absolute()), sha256=bundles.sha256_of(path))


def resident(bundle: Bundle | Handle | Path | str, *, device: str = "auto") -> Bundle:
    """Return a bundle on the device, loaded at most once per process.

    Args:
        bundle: A loaded bundle, or where one is.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        BundleError: if the bundle cannot be read or is not the one of the handle.
    """
    place = resolve_device(device)
    if isinstance(bundle, Bundle):
        is_there = next(bundle.model.parameters()).device.type == place.type
        return bundle if is_there else _moved(copy.deepcopy(bundle), place)
    handle = bundle if isinstance(bundle, Handle) else Handle.of(bundle)
    with _LOADING:
        return _loaded(handle, str(place))


def loads() -> int:
    """Return how many bundles this process has loaded for handles and paths."""
    return _loaded.cache_info().misses


@functools.cache
def _loaded(handle: Handle, device: str) -> Bundle:
    bundle = bundles.load(handle.path)
    if bundle.sha256 != handle.sha256:
        msg = (
            f"{handle.path}: the bundle has sha256 {bundle.sha256}, {handle.sha256} was asked for; "
            "it was replaced meanwhile"
        )
        raise BundleError(msg)
    return _moved(bundle, torch.device(device))


def _moved(bundle: Bundle, device: torch.device) -> Bundle:
    return replace(bundle, model=bundle.model.to(device), inputs=bundle.inputs.to(device))
