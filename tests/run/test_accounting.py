from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from coffea.processor import ProcessorABC

from hepcalib import ntuples
from hepcalib.exceptions import OutputError
from hepcalib.run import Dataset, process, scan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT = "nanoaod_ak4"
EVENTS = 30


def test_errors_of_the_processor_are_not_tolerated(
    small: Dataset, failing: Callable[..., ProcessorABC]
) -> None:
    for error in (ValueError("bug"), FileNotFoundError(2, "no model"), SystemExit(0)):
        result = process(failing(0, error), [small], chunk_size=10, tolerate=True)
        assert tuple(result.ledger.datasets["small"].events) == (30, 20, 0, 10)


def test_errors_of_the_processor_are_not_retried(small: Dataset) -> None:
    class Once(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        calls = 0

        def process(self, events: Any) -> Any:
            self.calls += 1
            message = f"no model for {len(events)} events"
            raise OSError(message)

    processor = Once()
    process(processor, [small], chunk_size=EVENTS, retries=3)
    assert processor.calls == 1


def test_max_events_are_skipped_with_their_weights(small: Dataset, counting: ProcessorABC) -> None:
    result = process(counting, [small], chunk_size=5, max_events=12)
    account = result.ledger.datasets["small"]
    assert tuple(account.events) == (30, 12, 18, 0)
    assert tuple(account.chunks) == (3, 2, 1, 0)
    (problem,) = account.problems
    assert (problem.kind, problem.reason) == ("skipped", "beyond max_events")
    assert problem.entries == (12, 30)
    assert result.ledger.ok
    path = small.files[0].path
    assert account.sum_of_weights.skipped == pytest.approx(
        ntuples.sum_of_weights(path, LAYOUT, start=12, stop=30)
    )


def test_outputs_that_do_not_add_up_are_in_the_ledger(small: Dataset) -> None:
    class Odd(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        def process(self, events: Any) -> Any:
            return {"x": len(events) if events.metadata["entrystart"] else "text"}

    result = process(Odd(), [small], chunk_size=10)
    account = result.ledger.datasets["small"]
    assert tuple(account.events) == (30, 0, 0, 30)
    assert "the executor broke: TypeError" in account.problems[0].reason


def test_a_processor_must_return_something(small: Dataset) -> None:
    class Nothing(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        def process(self, events: Any) -> None:
            assert len(events)

    with pytest.raises(OutputError, match=r"Nothing\.process returned None"):
        process(Nothing(), [small])


def test_a_file_that_changes_during_the_run_is_not_counted(
    tmp_path: Path, jets_file: Callable[..., Path], counting: ProcessorABC
) -> None:
    path = jets_file(tmp_path / "a.root", events=10, seed=1)
    dataset = scan_dataset("d", [path], LAYOUT)
    jets_file(path, events=10, seed=2)
    account = process(counting, [dataset]).ledger.datasets["d"]
    assert tuple(account.events) == (10, 0, 0, 10)
    assert "the file changed during the run" in account.problems[0].reason


def test_a_file_that_vanishes_keeps_its_counts(
    tmp_path: Path, jets_file: Callable[..., Path], counting: ProcessorABC
) -> None:
    path = jets_file(tmp_path / "a.root", events=10, seed=1)
    dataset = scan_dataset("d", [path], LAYOUT)
    path.unlink()
    result = process(counting, [dataset], chunk_size=4, max_events=8)
    account = result.ledger.datasets["d"]
    assert tuple(account.events) == (10, 0, 2, 8)
    assert result.ledger.balanced
    assert account.sum_of_weights.expected == dataset.files[0].sum_of_weights
    assert "cannot be opened: No such file" in account.problems[0].reason


def test_datasets_keep_their_own_accounts(
    tmp_path: Path, jets_file: Callable[..., Path], counting: ProcessorABC
) -> None:
    paths = [jets_file(tmp_path / f"{i}.root", events=10 + i, seed=i) for i in range(3)]
    datasets = [scan_dataset("a", paths[:2], LAYOUT), scan_dataset("b", paths[2:], LAYOUT)]
    result = process(counting, datasets, chunk_size=4)
    assert tuple(result.ledger.datasets["a"].events) == (21, 21, 0, 0)
    assert tuple(result.ledger.datasets["b"].events) == (12, 12, 0, 0)
    assert {chunk.file_number for chunk in result.processed} == {0, 1, 2}
