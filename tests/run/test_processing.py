from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from coffea.processor import ProcessorABC

from hepcalib import ntuples
from hepcalib.exceptions import ConfigError, NtupleError, RunError
from hepcalib.run import Dataset, Result, process, processing, scan_dataset
from hepcalib.run.executors import cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT = "nanoaod_ak4"
EVENTS = 30


@pytest.fixture
def expected(small: Dataset, counting: ProcessorABC) -> Result:
    """All of it in one chunk in this process."""
    return process(counting, [small], chunk_size=EVENTS)


def _assert_same(result: Result, expected: Result) -> None:
    assert result.ledger.ok
    assert list(result.output) == list(expected.output) == ["small/jets", "small/pt", "small/sum"]
    assert result.output["small/jets"] == expected.output["small/jets"]
    assert result.output["small/sum"] == pytest.approx(expected.output["small/sum"], rel=1e-12)
    ours, theirs = result.output["small/pt"], expected.output["small/pt"]
    assert np.allclose(ours.values(flow=True), theirs.values(flow=True), rtol=1e-12)
    assert np.allclose(ours.variances(flow=True), theirs.variances(flow=True), rtol=1e-12)


def test_the_whole_file_in_one_chunk(expected: Result, small_jets: Path) -> None:
    jets = ntuples.read(small_jets, LAYOUT)
    assert expected.output["small/jets"] == sum(len(event) for event in jets.pt.tolist())
    assert expected.ledger.ok
    account = expected.ledger.datasets["small"]
    assert tuple(account.events) == (EVENTS, EVENTS, 0, 0)
    assert tuple(account.chunks) == (1, 1, 0, 0)
    assert account.sum_of_weights.processed == pytest.approx(
        ntuples.scan(small_jets, LAYOUT).sum_of_weights, rel=1e-12
    )


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_results_do_not_depend_on_executor_and_chunk_size(
    small: Dataset,
    counting: ProcessorABC,
    expected: Result,
    executor: dict[str, Any],
    chunk_size: int,
) -> None:
    options = {**executor, "workers": 2 if chunk_size == 1 else 1}
    result = process(counting, [small], chunk_size=chunk_size, **options)
    _assert_same(result, expected)
    account = result.ledger.datasets["small"]
    assert account.events.processed == EVENTS
    assert account.chunks.processed == max(1, round(EVENTS / chunk_size))
    covered = [entry for c in result.processed for entry in range(c.start, c.stop)]
    assert covered == list(range(EVENTS))


def test_reference_numbers(reference: Dataset, counting: ProcessorABC) -> None:
    result = process(counting, [reference], chunk_size=60)
    assert result.output["reference/jets"] == 1636
    assert result.output["reference/sum"] == pytest.approx(90113.914, rel=1e-6)
    account = result.ledger.datasets["reference"]
    assert tuple(account.events) == (200, 200, 0, 0)
    assert account.sum_of_weights.processed == pytest.approx(70034, abs=0.01)


def test_an_error_of_the_processor_costs_its_chunk_only(
    small: Dataset,
    failing: Callable[..., ProcessorABC],
    executor: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    processor = failing(10, ValueError("no such jet"))
    seen: list[tuple[int, int]] = []
    options = {"chunk_size": 10, "progress": lambda n, of: seen.append((n, of)), **executor}
    result = process(processor, [small], **options)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert capfd.readouterr() == ("", "")
    if executor["executor"] == "futures":
        asked = int(os.environ.get("OMP_NUM_THREADS", cores()))
        assert result.output["threads"] == {str(min(cores(), asked))}
    account = result.ledger.datasets["small"]
    assert tuple(account.events) == (30, 20, 0, 10)
    assert tuple(account.chunks) == (3, 2, 0, 1)
    (problem,) = account.problems
    assert problem.file == small.files[0].path
    assert problem.entries == (10, 20)
    assert "ValueError: no such jet (at " in problem.reason
    assert problem.sum_of_weights == pytest.approx(
        ntuples.sum_of_weights(problem.file, LAYOUT, start=10, stop=20)
    )
    assert result.ledger.balanced
    assert not result.ledger.ok
    assert [chunk.start for chunk in result.processed] == [0, 20]


def test_files_without_entries_and_events_without_jets(
    tmp_path: Path, small_jets: Path, counting: ProcessorABC
) -> None:
    with ntuples.open_events(small_jets, LAYOUT) as events:
        names = [f for f in events.fields if f not in {"Jet", "GenJet"} and not f.startswith("n")]
        columns = {name: events[name] for name in names}
        empty = events.nJet == 0
        ntuples.write(tmp_path / "none.root", "Events", {n: c[:0] for n, c in columns.items()})
        ntuples.write(tmp_path / "bare.root", "Events", {n: c[empty] for n, c in columns.items()})
    datasets = [scan_dataset(n, [tmp_path / f"{n}.root"], LAYOUT) for n in ("none", "bare")]
    result = process(counting, datasets)
    assert result.ledger.ok
    assert result.output["none/jets"] == result.output["bare/jets"] == 0
    assert result.output["none/pt"].sum(flow=True).value == 0
    assert tuple(result.ledger.datasets["none"].events) == (0, 0, 0, 0)
    assert result.ledger.datasets["bare"].events.processed > 0


def test_user_metadata_reach_the_processor(small_jets: Path) -> None:
    class Metadata(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        def process(self, events: Any) -> Any:
            keys = ("dataset", "year", "layout", "file_number", "entrystart")
            return {"seen": {tuple(events.metadata[key] for key in keys)}}

    dataset = scan_dataset("d", [small_jets], LAYOUT, metadata={"year": 2024})
    result = process(Metadata(), [dataset], chunk_size=15)
    assert result.output["seen"] == {("d", 2024, LAYOUT, 0, 0), ("d", 2024, LAYOUT, 0, 15)}


def test_read_errors_are_tried_again(
    small: Dataset,
    counting: ProcessorABC,
    expected: Result,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hepcalib.run.work._BACK_OFF", 0.001)
    opened, left = ntuples.open_events, [3]

    def hiccup(*arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            message = "small.root: cannot be opened"
            raise NtupleError(message) from OSError("Operation expired")
        return opened(*arguments, **options)

    monkeypatch.setattr(ntuples, "open_events", hiccup)
    _assert_same(process(counting, [small], retries=3), expected)
    left[0] = 3
    account = process(counting, [small], retries=2).ledger.datasets["small"]
    assert account.events.failed == EVENTS
    assert account.problems[0].reason.endswith("[3 attempts]")


@pytest.mark.parametrize(
    ("executor", "workers", "address", "asked", "threads"),
    [
        ("iterative", 4, None, "", None),
        ("futures", 2, None, "", 4),
        ("futures", 3, None, "", 2),
        ("dask", 16, None, "", 1),
        ("futures", None, None, "", 1),
        ("futures", 2, None, "2", 2),
        ("futures", 2, None, "64", 4),
        ("dask", 1, "tcp://far:8786", "", 1),
    ],
)
def test_workers_never_use_more_threads_than_cores(  # noqa: PLR0917 - pytest passes them by name
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    workers: int | None,
    address: str | None,
    asked: str,
    threads: int | None,
) -> None:
    monkeypatch.setattr(processing, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert processing._threads(executor, workers, address) == threads


def test_the_bar_goes_to_stderr(
    small: Dataset, counting: ProcessorABC, capfd: pytest.CaptureFixture[str]
) -> None:
    process(counting, [small], chunk_size=10, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err


def test_postprocess_finishes_the_sum(small: Dataset) -> None:
    class Mean(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        def process(self, events: Any) -> Any:
            return {"events": len(events), "chunks": 1}

        def postprocess(self, accumulator: Any) -> Any:
            return {"mean": accumulator["events"] / accumulator["chunks"]}

    assert process(Mean(), [small], chunk_size=10).output == {"mean": 10.0}


def test_this_process_is_left_as_it_is(
    small: Dataset, counting: ProcessorABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "13")
    process(counting, [small])
    assert os.environ["OMP_NUM_THREADS"] == "13"


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "iterativ"},
        {"workers": 0, "executor": "futures"},
        {"retries": -1},
        {"executor": "futures", "address": "tcp://127.0.0.1:9"},
        {"address": "tcp://127.0.0.1:9"},
        {"chunk_size": 0},
    ],
)
def test_mistaken_options(small: Dataset, counting: ProcessorABC, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        process(counting, [small], **options)


def test_no_scheduler_at_the_address(
    small: Dataset, counting: ProcessorABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hepcalib.run import cluster

    monkeypatch.setattr(cluster, "_CONNECT", 1)
    with pytest.raises(RunError, match=r"dask scheduler tcp://127.0.0.1:9: no answer"):
        process(counting, [small], executor="dask", address="tcp://127.0.0.1:9")


def test_several_files_add_up(
    tmp_path: Path, jets_file: Callable[..., Path], counting: ProcessorABC
) -> None:
    paths = [jets_file(tmp_path / f"{i}.root", events=n, seed=i) for i, n in enumerate((9, 0, 20))]
    result = process(counting, [scan_dataset("d", paths, LAYOUT)], chunk_size=6)
    totals = [ntuples.scan(path, LAYOUT) for path in paths]
    account = result.ledger.datasets["d"]
    assert tuple(account.events) == (29, 29, 0, 0)
    assert account.sum_of_weights.processed == pytest.approx(
        sum(total.sum_of_weights for total in totals), rel=1e-12
    )
    assert result.output["d/jets"] == sum(
        len(event)
        for path in paths
        for event in ntuples.read(path, LAYOUT, columns=["pt"]).pt.tolist()
    )
