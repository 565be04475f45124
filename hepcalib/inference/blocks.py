"""Rows in blocks of bounded size, smaller ones where the memory of a GPU does not suffice."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from hepcalib.inference.transfer import transfer_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.inference.transfer import Fetched, Staged, Transfer

__all__ = ["block_limit", "streamed"]

# Objects plus constituents in a block on the CPU, where the features of a block stay in the cache;
# set models divide it further.
_CPU_LIMIT = 65_536

# A GPU computes at most so many together, and one with less memory a share of them: with 8 KiB for
# each, the activations of a wide layer and their copies, a block takes a sixteenth of the memory,
# which leaves room for other processes.
_GPU_LIMIT, _GPU_SHARE, _GPU_BYTES = 1_048_576, 16, 8192

# From the rows that a block holds and their inputs, on the device, to named results (rows,).
Evaluate: TypeAlias = "Callable[[Batch, slice], Mapping[str, Tensor]]"


def block_limit(device: torch.device) -> int:
    """Return how many objects plus constituents a block may have on a device."""
    if device.type != "cuda":
        return _CPU_LIMIT
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(_GPU_LIMIT, memory // (_GPU_SHARE * _GPU_BYTES)))


def streamed(
    evaluate: Evaluate,
    batch: Batch,
    *,
    device: torch.device,
    limit: int | None = None,
    transfer: Transfer | None = None,
) -> dict[str, NDArray[Any]]:
    """Evaluate the rows of a batch in blocks on a device; the results are on the host.

    The next block is on its way to the GPU while it computes this one, and results come back
    meanwhile. When the GPU runs out of memory, blocks are halved and tried again.

    Args:
        evaluate: Returns results for the inputs of a block, which are on the device.
        batch: Inputs, on the host; page-locked memory is used without a further copy.
        device: Where to compute.
        limit: Largest number of objects plus constituents in a block of more than one object;
            None is `block_limit`.
        transfer: What brings blocks to the device and back; None is the one for the device.

    Returns:
        The results of all rows, by name.

    Raises:
        torch.OutOfMemoryError: if the memory of the GPU does not suffice for one object.
    """
    blocks, results = _Blocks(batch, limit or block_limit(device)), _Results(batch.rows)
    transfer = transfer or transfer_to(device)
    staged = _staged(blocks, transfer, 0)
    while staged is not None:
        rows, following = staged[0], None
        try:
            following = _staged(blocks, transfer, rows.stop)
            results.expect(rows, transfer.fetch(evaluate(transfer.take(staged[1]), rows)))
        except torch.OutOfMemoryError:
            if rows.stop == rows.start + 1:
                raise
            staged = None
        if staged is None:  # outside of the except clause, in which the error keeps the tensors
            following = None
            results.settle(0)
            blocks.halve(rows)
            torch.cuda.empty_cache()
            following = _staged(blocks, transfer, rows.start)
        staged = following
        results.settle(1)
    results.settle(0)
    return results.values


def _staged(blocks: _Blocks, transfer: Transfer, start: int) -> tuple[slice, Staged] | None:
    """Send the block that begins with a row; there is none behind the last row."""
    if start >= blocks.batch.rows:
        return None
    rows = blocks.beginning(start)
    return rows, transfer.stage(blocks.batch.select(rows))


class _Blocks:
    """Consecutive rows of a batch, as many as the limit allows and at least one."""

    def __init__(self, batch: Batch, limit: int) -> None:
        self.batch, self.limit = batch, limit
        self.edges = np.arange(batch.rows + 1)
        if batch.constituents is not None:
            self.edges += batch.constituents.offsets.numpy()

    def beginning(self, start: int) -> slice:
        """Return the block that begins with a row."""
        end = np.searchsorted(self.edges, self.edges[start] + self.limit, side="right")
        return slice(start, min(max(int(end) - 1, start + 1), self.batch.rows))

    def halve(self, rows: slice) -> None:
        """Make the following blocks half as large as this one, for which memory was too small."""
        self.limit = int(self.edges[rows.stop] - self.edges[rows.start]) // 2


class _Results:
    """Results of all rows, some of them still on their way."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.values: dict[str, NDArray[Any]] = {}
        self.expected: deque[tuple[slice, Fetched]] = deque()

    def expect(self, rows: slice, fetched: Fetched) -> None:
        """Note what is on its way."""
        self.expected.append((rows, fetched))

    def settle(self, left: int) -> None:
        """Store results in their order until so many are left on their way."""
        while len(self.expected) > left:
            rows, fetched = self.expected.popleft()
            for name, value in fetched.numpy().items():
                if name not in self.values:
                    self.values[name] = np.empty((self.rows, *value.shape[1:]), value.dtype)
                self.values[name][rows] = value
