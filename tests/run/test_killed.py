from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hepcalib import ntuples
from hepcalib.run import Chunk, pool, process, scan_dataset
from hepcalib.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from coffea.processor import ProcessorABC

LAYOUT = "nanoaod_ak4"


def test_a_chunk_that_kills_its_worker_costs_no_other(
    small_jets: Path, killing: Callable[..., ProcessorABC], counting: ProcessorABC
) -> None:
    dataset = scan_dataset("small", [small_jets], LAYOUT)
    result = process(killing(6), [dataset], chunk_size=6, executor="futures", workers=1)
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
    assert pool.NO_LIMIT == {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
    monkeypatch.setitem(pool.NO_LIMIT, "LOKY_MAX_MEMORY_LEAK_SIZE", limit)
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


def _simulated_round(
    deadly: set[int],
) -> Callable[[Work, Sequence[Chunk], Callable[[], None], int], dict[str, Any]]:
    """A pool in which the chunks that start at some entries kill the workers, all in one go."""

    def one_round(
        work: Work, chunks: Sequence[Chunk], tick: Callable[[], None], workers: int
    ) -> dict[str, Any]:
        assert work.retries == 2
        report: dict[str, Any] = {}
        for i, chunk in enumerate(chunks):
            if chunk.start in deadly:
                started = max(0, i - workers + 1)
                broken = {c.key: ["killed"] for c in chunks[started:]}
                done = {c.key: {"reports": 1} for c in chunks[:started]}
                return {"done": done, "broken": broken}
            tick()
            report.setdefault("done", {})[chunk.key] = {"reports": 1}
        return report

    return one_round


@pytest.mark.parametrize(
    ("deadly", "workers", "failed"),
    [(set(), 2, set()), ({4}, 3, {4}), ({0, 1, 9}, 2, {0, 1, 9}), ({5, 6, 7, 8}, 4, {5, 6, 7, 8})],
)
def test_each_chunk_is_done_once_or_failed(
    monkeypatch: pytest.MonkeyPatch, deadly: set[int], workers: int, failed: set[int]
) -> None:
    monkeypatch.setattr(pool, "_round", _simulated_round(deadly))
    chunks = [Chunk("d", "a.root", "T", LAYOUT, 0, "u", i, i + 1, {}) for i in range(10)]
    report = pool.futures(Work(b""), chunks, lambda: None, workers=workers)
    assert set(report["done"]) == {c.key for c in chunks if c.start not in failed}
    assert set(report.get("failed", {})) == {c.key for c in chunks if c.start in failed}
    assert all(done["reports"] == 1 for done in report["done"].values())


def test_no_endless_series_of_dying_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_round", _simulated_round(set(range(100))))
    chunks = [Chunk("d", "a.root", "T", LAYOUT, 0, "u", i, i + 1, {}) for i in range(100)]
    report = pool.futures(Work(b""), chunks, lambda: None, workers=2)
    assert "done" not in report or not report["done"]
    assert len(report["failed"]) == 100
    assert "not tried: 6 other chunks killed" in report["failed"][chunks[-1].key][0].reason
