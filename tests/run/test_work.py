from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.exceptions import BundleError, DataError, NtupleError
from hepcalib.run import scan_dataset
from hepcalib.run.chunks import plan
from hepcalib.run.work import Failure, Work, _limit_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coffea.processor import ProcessorABC

    from hepcalib.run import Chunk


@pytest.fixture
def chunk(small_jets: Path) -> Chunk:
    """The middle third of the file."""
    dataset = scan_dataset("small", [small_jets], "nanoaod_ak4")
    return plan([dataset], chunk_size=10).chunks[1]


def test_a_report_has_the_counts_and_the_output(chunk: Chunk, counting: ProcessorABC) -> None:
    report = Work(counting)(chunk)
    assert set(report) == {"done", "output"}
    done = report["done"][chunk.key]
    assert (done["events"], done["reports"]) == (10, 1)


@pytest.mark.parametrize(
    ("error", "bad_file"),
    [
        (NtupleError("a.root: damaged"), True),
        (DataError("not raised where the file is read"), False),
        (BundleError("no model"), False),
        (OSError("no model"), False),
        (KeyError("pt"), False),
        (MemoryError(), False),
        (SystemExit(3), False),
    ],
)
def test_any_error_is_a_report(
    chunk: Chunk, failing: Callable[..., ProcessorABC], error: BaseException, bad_file: bool
) -> None:
    report = Work(failing(chunk.start, error), retries=0)(chunk)
    ((failure,),) = report["failed"].values()
    assert isinstance(failure, Failure)
    assert failure.bad_file is bad_file
    assert type(error).__name__ in failure.reason
    assert chunk.path in failure.reason
    assert failure.sum_of_weights is not None
    assert pickle.loads(pickle.dumps(failure)) == failure


def test_an_interrupt_is_none_of_our_business(
    chunk: Chunk, failing: Callable[..., ProcessorABC]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Work(failing(chunk.start, KeyboardInterrupt()))(chunk)


def test_errors_of_reading_in_a_processor_blame_the_file(data: Path) -> None:
    from coffea.processor import ProcessorABC

    class Direct(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
        def process(self, events: Any) -> Any:
            return {"pt": events.Jet.pt.tolist()}

    path = data / "damaged" / "bitflip_zstd_raises.root"
    dataset = scan_dataset("d", [path], "nanoaod_ak4")
    report = Work(Direct(), retries=0)(plan([dataset], chunk_size=200).chunks[0])
    ((failure,),) = report["failed"].values()
    assert failure.bad_file
    assert str(path) in failure.reason


def test_long_reasons_are_cut(chunk: Chunk, failing: Callable[..., ProcessorABC]) -> None:
    report = Work(failing(chunk.start, ValueError("x" * 100_000)))(chunk)
    assert len(report["failed"][chunk.key][0].reason) < 3000


def test_threads_of_torch_and_of_later_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = torch.get_num_threads()
    try:
        _limit_threads(1)
        assert torch.get_num_threads() == 1
        _limit_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
