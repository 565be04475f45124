"""Settings of the process that numbers depend on: kept as they are, and out of our results."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_settings", "seeded"]

_DEVICES = ("cpu", "cuda")
# The settings of numpy when a process starts.
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextmanager
def own_settings(*, gradients: bool = False) -> Iterator[None]:
    """Compute as in a process that has changed no setting of torch or numpy, and keep these.

    Inside the block numbers without a type are float32, tensors without a device are on the CPU,
    products of matrices have full precision, nothing is cast automatically, and numpy warns of
    what it cannot compute. It can be used as a decorator.

    Args:
        gradients: Whether gradients are needed; otherwise that stays as it is.
    """
    with ExitStack() as stack:
        stack.enter_context(np.errstate(**_ERRORS))  # type: ignore[arg-type]  # of literals
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        for backend in (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul):  # type: ignore[attr-defined]  # torch has no types for it
            if backend.fp32_precision not in {"none", "ieee"}:
                stack.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
                backend.fp32_precision = "ieee"
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if gradients:
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.enable_grad())
        yield


@contextmanager
def seeded(seed: int | None = None, *, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw random numbers from a seed inside the block; afterwards all generators are as before.

    Args:
        seed: Where the generators of the CPU and of the device start; None leaves them.
        device: The GPU on which numbers are drawn too, if it is one.
    """
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed(seed)
        yield
