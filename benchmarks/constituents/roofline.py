"""What the arithmetic alone would take: FLOPs at the measured rate of matrix products."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
import uproot

from benchmarks.constituents.sample import LAYOUT, NEEDED, TREE
from hepcalib.ntuples import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hepcalib.models import PFN

Shape: TypeAlias = tuple[int, int, int]

ROWS = 1500  # of a product of a layer: its inputs and outputs stay in the cache
LARGE: tuple[Shape, ...] = tuple((n, n, n) for n in (512, 768, 1024))


class Work(NamedTuple):
    """FLOPs of a PFN for each shape of its layers, (rows, inputs, outputs) of a product."""

    flops: dict[Shape, float]

    @property
    def total(self) -> float:
        return sum(self.flops.values())

    def seconds(self, rates: Mapping[Shape, float]) -> float:
        """Time at the rate of the products of the layers themselves."""
        return sum(flops / rates[shape] for shape, flops in self.flops.items())

    def least_seconds(self, rates: Mapping[Shape, float]) -> float:
        """Time at the best rate that any product reached: the roofline."""
        return self.total / max(rates.values())


def work(model: PFN, *, jets: int, items: int) -> Work:
    """Multiplications and additions of the layers; activations, sums and biases are left out."""
    phi = [model.constituents, *model.widths["phi"]]
    f = [phi[-1] + model.features, *model.widths["f"], model.head.outputs]
    flops: dict[Shape, float] = {}
    for widths, rows in ((phi, items), (f, jets)):
        for inputs, outputs in pairwise(widths):
            shape = (ROWS, inputs, outputs)
            flops[shape] = flops.get(shape, 0.0) + 2.0 * rows * inputs * outputs
    return Work(flops)


def rates(shapes: tuple[Shape, ...], seconds: float) -> dict[Shape, float]:
    """Rate [FLOP/s] of one thread for each shape, in float32, in so many seconds of wall time."""
    return {shape: _rate(shape, seconds) for shape in (*shapes, *LARGE)}


def rate_task(shapes: tuple[Shape, ...], seconds: float) -> Callable[[], dict[Shape, float]]:
    """Return what measures all rates once."""
    return lambda: rates(shapes, seconds)


def _rate(shape: Shape, seconds: float) -> float:
    rows, inputs, outputs = shape
    left, right = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    out = torch.mm(left, right.T)
    done, start, end = 0, time.process_time(), time.perf_counter() + seconds
    while done == 0 or time.perf_counter() < end:
        torch.mm(left, right.T, out=out)
        done += 1
    return done * 2.0 * rows * inputs * outputs / (time.process_time() - start)


def read_task(files: list[Path], chunk: int) -> Callable[[], int]:
    """Return what reads the branches that the scores need with uproot alone, chunk by chunk.

    The file is opened anew for each chunk of so many events, as it is where workers share it.
    """
    names = sorted(LAYOUTS[LAYOUT].branches(NEEDED))

    def read() -> int:
        entries = 0
        for file in files:
            start, stop = 0, 1
            while start < stop:
                with uproot.open(file) as opened:
                    stop = int(opened[TREE].num_entries)
                    opened[TREE].arrays(names, entry_start=start, entry_stop=start + chunk)
                start += chunk
            entries += stop
        return entries

    return read
