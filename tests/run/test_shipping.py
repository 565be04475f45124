from __future__ import annotations

import importlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from coffea.processor import ProcessorABC

from hepcalib.exceptions import RunError
from hepcalib.run import process, scan_dataset
from hepcalib.run.chunks import plan
from hepcalib.run.shipping import packed, unpacked
from hepcalib.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
from coffea.processor import ProcessorABC
from my_selection import minimum

class Mine(ProcessorABC):
    def process(self, events):
        return {"events": len(events) + minimum()}
"""


class Pair(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Holds other processors."""

    def __init__(self, *parts: Any) -> None:
        self.parts = {"first": list(parts)}

    def process(self, events: Any) -> Any:
        return self.parts["first"][0].process(events)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessorABC]:
    """A processor from a package that only this process can import."""
    package = tmp_path / "my_analysis"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "selection.py").write_text("def minimum():\n    return 0\n", encoding="utf-8")
    code = CODE.replace("my_selection", "my_analysis.selection")
    (package / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("my_analysis.mine").Mine()
    for name in [n for n in sys.modules if n.startswith("my_analysis")]:
        del sys.modules[name]


def test_user_code_reaches_workers_that_cannot_import_it(
    small_jets: Path, mine: ProcessorABC, cluster: str
) -> None:
    dataset = scan_dataset("d", [small_jets], "nanoaod_ak4")
    for processor in (mine, Pair(mine)):
        result = process(processor, [dataset], chunk_size=10, executor="dask", address=cluster)
        assert result.ledger.ok, result.ledger.complaint()
        assert result.output == {"events": 30}


def test_modules_travel_only_while_needed(mine: ProcessorABC) -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    payload = packed(Pair(mine, mine))
    assert cloudpickle.list_registry_pickle_by_value() == before
    assert b"minimum" in payload


def test_installed_packages_stay_at_home(counting: ProcessorABC) -> None:
    from coffea.processor.test_items import NanoTestProcessor

    payload = packed(NanoTestProcessor())
    assert b"coffea.processor.test_items" in payload
    assert len(payload) < 1000 < len(packed(counting))


def test_a_worker_unpacks_a_processor_once(mine: ProcessorABC) -> None:
    payload = packed(mine)
    assert unpacked(payload) is unpacked(payload)
    assert unpacked(payload) is not mine


def test_a_processor_that_cannot_travel_is_refused(small_jets: Path) -> None:
    dataset = scan_dataset("d", [small_jets], "nanoaod_ak4")
    with small_jets.open("rb") as stream, pytest.raises(RunError, match="Pair cannot be sent"):
        process(Pair(stream), [dataset], executor="futures", workers=1)


def test_code_that_workers_cannot_import_is_in_the_ledger(
    small_jets: Path, mine: ProcessorABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = scan_dataset("d", [small_jets], "nanoaod_ak4")
    payload = pickle.dumps(mine)
    for name in [n for n in sys.modules if n.startswith("my_analysis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "pytest" not in p])
    report = Work(payload)(plan([dataset], chunk_size=30).chunks[0])
    ((failure,),) = report["failed"].values()
    assert "ModuleNotFoundError: No module named 'my_analysis'" in failure.reason
