"""How speed and memory go with multiplicity, block, threads, workers and the largest jet."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coffea.processor import FuturesExecutor

from benchmarks.constituents import sample
from benchmarks.constituents.paths import Ours, run
from benchmarks.constituents.workers import memory
from hepcalib import bundles, inference
from hepcalib.models import set_sums
from hepcalib.processes import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import awkward as ak

MULTIPLICITIES = (10, 20, 45, 100, 200)
BLOCKS = (1000, 5000, 20_000, 100_000, 500_000)
NETWORK_BLOCKS = (256, 512, 1024, 2048, 4096, 16_384, 65_536)
THREADS = WORKERS = (1, 2)
HUGE = 2000  # constituents of one jet of the large chunk

CLEAR = Path("/proc/self/clear_refs")


def multiplicity_task(folder: Path, items: int) -> Callable[[], dict[str, float]]:
    """Jets/s of `predict` for jets of equally many constituents, in CPU time."""
    bundle = bundles.load(folder / "bundle")
    samples = {n: sample.columns(np.full(max(1, items // n), n)) for n in MULTIPLICITIES}
    return lambda: _rates(
        {
            str(n): (functools.partial(_predict, bundle, jets), len(jets))
            for n, jets in samples.items()
        },
        time.process_time,
    )


def block_task(folder: Path, jets: int) -> Callable[[], dict[str, float]]:
    """Jets/s of `predict` with so many jets and constituents at a time, in CPU time."""
    bundle = bundles.load(folder / "bundle")
    columns = sample.columns(sample.multiplicities(jets))
    calls = {"automatic": functools.partial(_predict, bundle, columns)}
    calls |= {f"{b:,}": functools.partial(_predict, bundle, columns, block=b) for b in BLOCKS}
    return lambda: _rates({name: (call, jets) for name, call in calls.items()}, time.process_time)


def network_block_task(folder: Path, jets: int) -> Callable[[], dict[str, float]]:
    """Jets/s of `predict` with so many constituents in the network at a time, in CPU time."""
    bundle = bundles.load(folder / "bundle")
    columns = sample.columns(sample.multiplicities(jets))

    def predict(block: int) -> None:
        before, set_sums.CPU_BLOCK = set_sums.CPU_BLOCK, block
        try:
            _predict(bundle, columns)
        finally:
            set_sums.CPU_BLOCK = before

    calls = {f"{block:,}": functools.partial(predict, block) for block in NETWORK_BLOCKS}
    return lambda: _rates({name: (call, jets) for name, call in calls.items()}, time.process_time)


def thread_task(folder: Path, jets: int) -> Callable[[], dict[str, float]]:
    """Jets/s of `predict` on so many threads, in wall time."""
    bundle = bundles.load(folder / "bundle")
    columns = sample.columns(sample.multiplicities(jets))
    calls = {str(n): functools.partial(_predict, bundle, columns, threads=n) for n in THREADS}
    return lambda: _rates({name: (call, jets) for name, call in calls.items()}, time.perf_counter)


class WorkerTask:
    """Jets/s of the whole processor by coffea's futures executor, in wall time."""

    def __init__(self, folder: Path, files: Sequence[Path], chunk: int, jets: int) -> None:
        self._pools = {n: Workers(n) for n in WORKERS}
        self._folder, self._files, self._chunk, self._jets = folder, list(files), chunk, jets

    def __call__(self) -> dict[str, float]:
        """Return the rate for each number of workers."""
        calls = {str(n): (functools.partial(self._process, n), self._jets) for n in self._pools}
        return _rates(calls, time.perf_counter)

    def _process(self, workers: int) -> None:
        executor = FuturesExecutor(workers=workers, pool=self._pools[workers], status=False)
        run(Ours(self._folder), self._files, self._chunk, executor=executor)

    def close(self) -> None:
        """End the workers; when a process ends with them, it waits for them for ever."""
        for pool in self._pools.values():
            pool.shutdown()


def memory_task(bundle_path: Path, jets: int) -> Callable[[], float]:
    """Highest resident size [MB] above that with the columns in memory, one jet being huge."""
    bundle = bundles.load(bundle_path)
    counts = sample.multiplicities(jets)
    counts[len(counts) // 2] = HUGE
    columns = sample.columns(counts)
    _predict(bundle, sample.columns(counts[:10]))

    def largest() -> float:
        CLEAR.write_text("5")  # start the highest resident size anew
        before = memory("VmRSS")
        _predict(bundle, columns)
        return memory("VmHWM") - before

    return largest


def _predict(bundle: bundles.Bundle, columns: ak.Array, *, threads: int = 1, **keys: Any) -> None:
    inference.predict(bundle, columns, device="cpu", threads=threads, **keys)


def _rates(
    calls: Mapping[str, tuple[Callable[[], None], int]], clock: Callable[[], float]
) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (call, jets) in calls.items():
        start = clock()
        call()
        found[name] = jets / (clock() - start)
    return found
