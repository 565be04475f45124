from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hepcalib import ntuples
from hepcalib.run import process, scan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
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
    processor = killing(12, once=tmp_path / "killed")
    result = process(processor, [dataset], chunk_size=6, executor="futures", workers=2)
    assert (tmp_path / "killed").exists()
    assert result.ledger.ok
    whole = process(counting, [dataset], chunk_size=6)
    assert result.output["small/pt"] == whole.output["small/pt"]
    assert result.output["small/jets"] == whole.output["small/jets"]


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
