"""Blocks to a GPU and results back, while the GPU computes another block."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from hepcalib.batch import Batch
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Direct", "Fetched", "Pinned", "Staged", "Transfer", "transfer_to"]


class Staged(NamedTuple):
    """A block that is on its way to the device, and what tells that it has arrived."""

    batch: Batch
    arrived: torch.cuda.Event | None = None


class Fetched(NamedTuple):
    """Results that are on their way to the host, and what tells that they have arrived."""

    values: Mapping[str, Tensor]
    arrived: torch.cuda.Event | None = None

    def numpy(self) -> dict[str, NDArray[Any]]:
        """Wait for the results and return them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return {name: value.numpy() for name, value in self.values.items()}


class Transfer(Protocol):
    """What brings blocks to a device and results back."""

    def stage(self, batch: Batch) -> Staged:
        """Start to bring a block to the device."""
        ...

    def take(self, staged: Staged) -> Batch:
        """Return the block, for what the device computes from now on."""
        ...

    def fetch(self, results: Mapping[str, Tensor]) -> Fetched:
        """Start to bring results to the host."""
        ...


def transfer_to(device: torch.device) -> Transfer:
    """Return the transfer for a device."""
    return Pinned(device) if device.type == "cuda" else Direct()


class Direct:
    """For the CPU, where there is nothing to transfer."""

    def stage(self, batch: Batch) -> Staged:
        """Return the block itself."""
        return Staged(batch)

    def take(self, staged: Staged) -> Batch:
        """Return the block itself."""
        return staged.batch

    def fetch(self, results: Mapping[str, Tensor]) -> Fetched:
        """Return the results themselves."""
        return Fetched(results)


class Pinned:
    """Copies through page-locked memory on a stream of their own, beside the computation.

    A block is copied to page-locked memory, unless it is there already, and from there to the GPU
    by its copy engine while kernels run. Results go the same way back, behind the kernels that
    compute them, and nobody waits for them until they are asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's

    def stage(self, batch: Batch) -> Staged:
        """Start to copy a block to the GPU, behind those that were staged before."""
        features, constituents = batch
        with torch.cuda.stream(self.stream):
            if features is not None:
                features = self._sent(features)
            if constituents is not None:
                packed = constituents.packed()
                constituents = Ragged(self._sent(packed.values), self._sent(packed.offsets))
            return Staged(Batch(features, constituents), self.stream.record_event())

    def take(self, staged: Staged) -> Batch:
        """Let the kernels that follow wait for the block, and keep its memory until they ran."""
        current = torch.cuda.current_stream(self.device)
        if staged.arrived is not None:
            current.wait_event(staged.arrived)
        features, constituents = staged.batch
        for tensor in (
            *(() if features is None else (features,)),
            *(() if constituents is None else (constituents.values, constituents.offsets)),
        ):
            tensor.record_stream(current)
        return staged.batch

    def fetch(self, results: Mapping[str, Tensor]) -> Fetched:
        """Start to copy results to page-locked memory, behind the kernels that compute them."""
        found = {}
        for name, value in results.items():
            found[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            found[name].copy_(value, non_blocking=True)
        return Fetched(found, torch.cuda.current_stream(self.device).record_event())

    def _sent(self, values: Tensor) -> Tensor:
        dense = values.is_contiguous() or values.t().is_contiguous()
        if not (dense and values.is_pinned()):
            values = _pinned(values)
        return values.to(self.device, non_blocking=True)


def _pinned(values: Tensor) -> Tensor:
    """Return a copy in page-locked memory, feature by feature if the values are so."""
    if values.dim() == 2 and values.stride(0) == 1 and values.shape[1] > 1:
        return (
            torch.empty(values.shape[::-1], dtype=values.dtype, pin_memory=True).t().copy_(values)
        )
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values)
