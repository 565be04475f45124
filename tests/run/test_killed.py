from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hepcalib import ntuples, processes
from hepcalib.processes import Broken
from hepcalib.run import Chunk, pool, process, scan_dataset
from hepcalib.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from coffea.processor import ProcessorABC

LAYOUT = "nanoaod_ak4"


def test_a_chunk_that_kills_its_worker_costs_no_other(
    small_jets: Path, killing: Callable[..., ProcessorABC], counting: ProcessorABC
) -> None:
    dataset = scan_dataset("small", [small_jets], LAYOUT)
    result = process(killing(6), [dataset], chunk_size=6, executor="futures", workers=1, retries=0)
    account = result.ledger.datasets["small"]
    assert tuple(account.events) == (30, 24, 0, 6)
    assert tuple(account.chunks) == (5, 4, 0, 1)
    (problem,) = account.problems
    assert problem.entries == (6, 12)
    assert "killed its worker process: TerminatedWorkerError" in problem.reason
    assert problem.sum_of_weights == pytest.approx(
        ntuples.sum_of_weights(small_jets, LAYOUT, start=6, stop=12)
    )
    assert result.ledger.balanced
    whole = process(counting, [dataset], chunk_size=6)
    lost = ntuples.read(small_jets, LAYOUT, start=6, stop=12, columns=["pt"])
    jets = sum(len(event) for event in lost.pt.tolist())
    assert result.output["small/jets"] == whole.output["small/jets"] - jets


def test_a_worker_that_dies_once_costs_nothing(
    small_jets: Path,
    tmp_path: Path,
    killing: Callable[..., ProcessorABC],
    counting: ProcessorABC,
) -> None:
    dataset = scan_dataset("small", [small_jets], LAYOUT)
    processor = killing(15, once=tmp_path / "killed")
    result = process(processor, [dataset], chunk_size=15, executor="futures", workers=2)
    assert (tmp_path / "killed").exists()
    assert result.ledger.ok
    whole = process(counting, [dataset], chunk_size=15)
    assert result.output["small/pt"] == whole.output["small/pt"]
    assert result.output["small/jets"] == whole.output["small/jets"]


@pytest.mark.parametrize("limit", ["1e18", "3e8"])
def test_a_worker_that_grows_stays(
    small_jets: Path,
    growing: Callable[..., ProcessorABC],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    """With the limit that loky has, the control, the next chunk has a worker of its own."""
    assert processes.NO_LIMIT == {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
    monkeypatch.setitem(processes.NO_LIMIT, "LOKY_MAX_MEMORY_LEAK_SIZE", limit)
    dataset = scan_dataset("small", [small_jets], LAYOUT)
    result = process(growing(), [dataset], chunk_size=10, executor="futures", workers=1)
    assert result.ledger.ok
    assert len(result.output["processes"]) == (1 if limit == "1e18" else 2)


@pytest.mark.validation
def test_a_chunk_that_kills_its_dask_workers_costs_no_other(
    small_jets: Path, killing: Callable[..., ProcessorABC]
) -> None:
    dataset = scan_dataset("small", [small_jets], LAYOUT)
    result = process(killing(6), [dataset], chunk_size=6, executor="dask", workers=2)
    account = result.ledger.datasets["small"]
    assert tuple(account.events) == (30, 24, 0, 6)
    assert "killed its workers" in account.problems[0].reason
    assert result.ledger.balanced


class _Fake:
    """Stands for one worker process; a chunk kills it as often as `deadly` says."""

    deadly: ClassVar[dict[int, int]] = {}
    started: ClassVar[list[int]] = []

    def __init__(self, workers: int, *, environment: Mapping[str, str]) -> None:
        assert workers == 1
        assert environment["OMP_NUM_THREADS"] == "1"

    def submit(self, _: Work, chunk: Chunk) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        self.started.append(chunk.start)
        if self.started.count(chunk.start) <= self.deadly.get(chunk.start, 0):
            future.set_exception(Broken("gone"))
        else:
            future.set_result({"done": {chunk.key: {"reports": 1}}})
        return future

    def shutdown(self, *, wait: bool, kill_workers: bool) -> None:
        assert wait
        assert not kill_workers


def _faked(
    monkeypatch: pytest.MonkeyPatch, deadly: dict[int, int], *, chunks: int, retries: int
) -> tuple[list[Chunk], dict[str, Any], int]:
    monkeypatch.setattr(pool, "Workers", _Fake)
    monkeypatch.setattr(_Fake, "deadly", deadly)
    monkeypatch.setattr(_Fake, "started", [])
    made = [Chunk("d", "a.root", "T", LAYOUT, 0, "u", i, i + 1, {}) for i in range(chunks)]
    ticks: list[int] = []
    work = Work(b"", retries=retries)
    report = pool.futures(work, made, lambda: ticks.append(1), workers=3)
    return made, report, len(ticks)


@pytest.mark.parametrize("retries", [0, 1, 2, 3])
def test_a_chunk_has_as_many_attempts_as_retries_allow(
    monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    deadly = {2: retries, 5: retries + 1, 7: 1, 8: 100}
    chunks, report, ticks = _faked(monkeypatch, deadly, chunks=10, retries=retries)
    failed = {5, 8} if retries else {5, 7, 8}
    assert set(report["done"]) == {c.key for c in chunks if c.start not in failed}
    assert all(done["reports"] == 1 for done in report["done"].values())
    assert set(report["failed"]) == {c.key for c in chunks if c.start in failed}
    times = f" {retries + 1} times" if retries else ""
    assert report["failed"][chunks[5].key][0].reason == (
        f"a.root: killed its worker process{times}: BrokenProcessPool: gone"
    )
    assert _Fake.started.count(8) == retries + 1
    assert _Fake.started.count(0) == 1
    assert ticks == 10


def test_no_endless_series_of_dying_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = dict.fromkeys(range(100), 1000)
    chunks, report, ticks = _faked(monkeypatch, deadly, chunks=100, retries=2)
    assert "done" not in report
    assert len(report["failed"]) == ticks == 100
    assert len(_Fake.started) < 40
    assert "not tried: 5 other chunks killed" in report["failed"][chunks[-1].key][0].reason
