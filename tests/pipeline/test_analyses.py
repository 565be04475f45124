from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hist
import pytest
from coffea.processor import ProcessorABC

from hepcalib.exceptions import ConfigError
from hepcalib.inference import Handle
from hepcalib.pipeline.analyses import Joined, build, outline, outputs_of, processor_class
from hepcalib.run.shipping import packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]

MODULE = """
from coffea.processor import ProcessorABC


class Counts(ProcessorABC):
    needs = ("mu",)

    def __init__(self, model, *, factor=2, columns=None):
        if factor < 0:
            raise ValueError(f"factor is {factor}; needed: a positive one")
        self.model, self.factor, self.columns = model, factor, columns

    def process(self, events):
        return {"events": self.factor * len(events)}

    def postprocess(self, accumulator):
        return None


class Free(Counts):
    def __init__(self, **options):
        self.options = options
"""


class Filling(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Counts the events, and doubles the histogram at the end."""

    def __init__(self, *, finish: bool = True) -> None:
        self.finish = finish

    def process(self, events: Any) -> dict[str, Any]:
        histogram = hist.Hist.new.Reg(2, 0, 2, name="x").Weight()
        histogram.fill(x=[0.5] * len(events))
        return {"h": histogram}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any] | None:
        return {"h": 2 * accumulator["h"]} if self.finish and accumulator else None


class Events(list[int]):
    """Something with a length and metadata."""

    metadata: dict[str, Any]


def events(dataset: str) -> Events:
    made = Events([1, 2, 3])
    made.metadata = {"dataset": dataset}
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's module, in which hepcalib is started."""
    (tmp_path / "own_counts.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_counts", raising=False)
    return tmp_path


@pytest.fixture
def study(loaded: Load, here: Path) -> Load:
    def load(processor: str = "own_counts:Counts", **changes: Any) -> Loaded:
        assert here.is_dir()
        analysis = {"processor": processor, "datasets": ["a"], "models": {"model": "m"}, **changes}
        return loaded(
            datasets={"a": {"files": ["a.root"], "layout": "flat_jets"}},
            models={"m": {"bundle": "somewhere"}},
            analyses={"study": analysis},
        )

    return load


def test_processors_are_found_in_the_present_folder(study: Load) -> None:
    found = processor_class(study(), "study")
    assert (found.__module__, found.__name__) == ("own_counts", "Counts")


def test_shipped_processors_are_found(study: Load) -> None:
    found = processor_class(study("processors:JetTagging"), "study")
    assert found.__module__ == "hepcalib.processors.jet_tagging"


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder `processors` in the present folder."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "processors"]:
        monkeypatch.delitem(sys.modules, name)
    (here / "processors").mkdir()
    for name in ("mine", "columns", "jet_tagging"):
        code = "from processors.columns import BASE\nclass {0}(BASE): pass\n"
        code = code.format("JetTagging" if name == "jet_tagging" else name.capitalize())
        if name == "columns":
            code = "from coffea.processor import ProcessorABC\n"
            code += "class BASE(ProcessorABC):\n    def process(self, events): return {}\n"
            code += "    def postprocess(self, accumulator): return accumulator\n"
        (here / "processors" / f"{name}.py").write_text(code, encoding="utf-8")
    return here / "processors"


@pytest.mark.parametrize("package", [True, False])
def test_a_folder_of_the_users_hides_no_shipped_processor(
    study: Load, folder: Path, package: bool
) -> None:
    if package:
        code = "from processors.mine import Mine as Own\nclass JetTagging(Own): pass\n"
        (folder / "__init__.py").write_text(code, encoding="utf-8")
    for name in ("processors", "processors.jet_tagging", "hepcalib.processors"):
        found = processor_class(study(f"{name}:JetTagging"), "study")
        assert found.__module__ == "hepcalib.processors.jet_tagging"
    mine = processor_class(study("processors.mine:Mine"), "study")
    assert (mine.__module__, mine.__name__) == ("processors.mine", "Mine")
    assert Path(sys.modules["processors.columns"].__file__ or "").parent == folder
    if package:
        assert processor_class(study("processors:Own"), "study") is mine
    with pytest.raises(ConfigError, match=r"'processors(\.mine)?' has no processor 'Min'"):
        processor_class(study("processors.mine:Min"), "study")
    payload = packed(mine())
    assert b"postprocess" in payload
    shipped = processor_class(study("processors:PublishedCalibration"), "study")
    assert len(packed(shipped())) < 200 < len(payload)


@pytest.mark.parametrize("code", ["1 / 0", "def", "import nowhere", "raise SystemExit(3)"])
def test_a_module_that_fails_is_one_line(study: Load, here: Path, code: str) -> None:
    (here / "own_broken.py").write_text(f"{code}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"analyses\.study\.processor: .*own_broken") as caught:
        processor_class(study("own_broken:Counts"), "study")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ("own_count:Counts", "no module 'own_count'"),
        ("own_counts:Count", "'own_counts' has no processor 'Count'. Known: Counts, Free. Did you"),
        ("hepcalib.config:Config", "'hepcalib.config' has no processor 'Config'"),
    ],
)
def test_what_is_no_processor_is_refused(study: Load, processor: str, message: str) -> None:
    with pytest.raises(
        ConfigError, match=r"test\.yaml:\d+: analyses\.study\.processor: "
    ) as caught:
        processor_class(study(processor), "study")
    assert message in str(caught.value)


def test_outline_tells_needs_and_checks_options(study: Load) -> None:
    assert outline(study(options={"factor": 3}), "study").needs == ("mu",)
    with pytest.raises(ConfigError, match=r"analyses\.study\.options: factor is -1; needed: a pos"):
        outline(study(options={"factor": -1}), "study")


def test_build_gives_handles_options_and_the_folder(study: Load, tmp_path: Path) -> None:
    handle = Handle(path="somewhere", sha256="0" * 64)
    loaded = study(options={"factor": 5})
    found = build(loaded, "study", handles={"m": handle}, columns=tmp_path)
    assert (found.model, found.factor, found.columns) == (handle, 5, str(tmp_path))
    free = build(study("own_counts:Free"), "study", handles={"m": handle}, columns=tmp_path)
    assert free.options == {"model": handle}


def test_joined_runs_each_analysis_on_its_datasets() -> None:
    joined = Joined(
        {"first": Filling(), "second": Filling(finish=False)},
        datasets={"first": ["a", "b"], "second": ["b"]},
    )
    assert set(joined.process(events("a"))) == {"first/h"}
    both = joined.process(events("b"))
    assert set(both) == {"first/h", "second/h"}
    finished: dict[str, Any] = joined.postprocess(both)
    assert finished["first/h"].sum().value == 6
    assert finished["second/h"].sum().value == 3
    assert joined.postprocess({}) == {}


def test_outputs_of_one_analysis() -> None:
    histograms: dict[str, Any] = {"jets/mu": 1, "jets/eta": 2, "jets_two/mu": 3}
    assert outputs_of(histograms, "jets") == {"eta": 2, "mu": 1}
    assert list(outputs_of(histograms, "jets")) == ["eta", "mu"]
    assert outputs_of(histograms, "taus") == {}
