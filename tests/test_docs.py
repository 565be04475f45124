"""The guide and the API reference say what the code does, and the guide's examples run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from hepcalib import config, inference, ntuples, processors
from hepcalib.ntuples.columns import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/guide.md", "docs/decorrelation.md", "docs/inference.md")

# The sections of a configuration, in the order of their tables in the guide.
SECTIONS: list[type[BaseModel]] = [
    config.Config,
    config.TopoClusterSample,
    config.JetSample,
    config.PileUp,
    config.Dataset,
    config.ModelConfig,
    config.BundleFile,
    config.Inputs,
    config.Penalty,
    config.Planing,
    config.Training,
    config.Scan,
    config.Residual,
    config.Decorrelator,
    config.Analysis,
    config.RunOptions,
]


def tables(header: str) -> list[list[list[str]]]:
    """The rows of every table of the guide with this header, cell by cell."""
    found: list[list[list[str]]] = []
    inside = False
    for line in GUIDE.splitlines():
        if line == header:
            found.append([])
            inside = True
        elif inside and line.startswith("|"):
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not set("".join(cells)) <= {"-"}:
                found[-1].append(cells)
        else:
            inside = False
    return found


def example(name: str) -> str:
    """The code block of the guide that begins with a comment of this name."""
    blocks: list[str] = re.findall(
        r"^```(?:python|yaml)\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE
    )
    (found,) = [block for block in blocks if block.startswith(f"# {name}\n")]
    return found


def make_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_api_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert make_api().render() == written, "run `python docs/make_api.py`"


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_text_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:hepcalib|processors|analysis_configs|tests)/[\w./]+)`", text):
        if not path.endswith("/x.py"):
            assert (ROOT / path).exists(), path
    for name in set(re.findall(r"`(hepcalib\.[\w.]+)`", text)):
        room, _, attribute = name.rpartition(".")
        found = importlib.import_module(room)
        assert hasattr(found, attribute) or importlib.util.find_spec(name), name


@pytest.mark.parametrize(("kind", "number"), [("cluster", 0), ("jet", 1)])
def test_standard_columns_are_listed(kind: ntuples.columns.ObjectKind, number: int) -> None:
    rows = tables("| column | unit | per | if absent | what |")[number]
    listed = {cells[0].strip("`"): tuple(cells[1:4]) for cells in rows}
    expected = {
        name: (
            column.unit or "-",
            column.level,
            "nan" if math.isnan(column.default) else f"{column.default:g}",
        )
        for name, column in STANDARD[kind].items()
    }
    assert listed == expected
    assert list(listed) == list(expected)


def test_layouts_are_listed() -> None:
    (sentence,) = re.findall(r"The layouts are (.*?);", GUIDE, flags=re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(ntuples.LAYOUTS)


def test_fields_of_a_prediction_are_listed() -> None:
    (rows,) = tables("| field | of | what |")
    listed = {
        kind: {c[0].strip("`") for c in rows if c[1] in {kind, "both"}}
        for kind in ("response", "tagger")
    }
    assert listed["response"] == set(inference.RESPONSE_FIELDS)
    assert listed["tagger"] == set(inference.TAGGER_FIELDS)


def test_every_section_of_a_configuration_has_a_table() -> None:
    exported = [getattr(config, name) for name in config.__all__]
    models = {x for x in exported if inspect.isclass(x) and issubclass(x, BaseModel)}
    assert models == set(SECTIONS)
    assert len(tables("| key | default | what |")) == len(SECTIONS)


@pytest.mark.parametrize("number", range(len(SECTIONS)), ids=[s.__name__ for s in SECTIONS])
def test_every_key_is_listed_with_its_default(number: int) -> None:
    listed = {c[0].strip("`"): c[1] for c in tables("| key | default | what |")[number]}
    fields = SECTIONS[number].model_fields
    assert listed.keys() == fields.keys()
    for name, field in fields.items():
        assert shown(listed[name]) == plain(field.default), name


def shown(cell: str) -> Any:
    return yaml.safe_load(cell.strip("`")) if cell.startswith("`") else cell


def plain(default: Any) -> Any:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return "its defaults"
    return list(default) if isinstance(default, tuple) else default


def test_keywords_of_the_processors_are_listed() -> None:
    (rows,) = tables("| processor | keywords | histograms |")
    listed = {c[0].strip("`").partition(":")[2]: re.findall(r"`(\w+)`", c[1]) for c in rows}
    expected = {
        name: [k for k in inspect.signature(getattr(processors, name)).parameters if k != "columns"]
        for name in processors.__all__
    }
    assert listed == expected


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide's own processor has run, with `clusters.root` and a bundle."""
    folder = tmp_path_factory.mktemp("pileup")
    for name in ("pileup.py", "pileup.yaml", "run_pileup.py", "coffea_runner.py", "own_layout.py"):
        (folder / name).write_text(example(name), encoding="utf-8")
    command = [sys.executable, "-m", "hepcalib", "run", "pileup.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (sample,) = (folder / ".hepcalib" / "samples").glob("test-*.root")
    (bundle,) = (folder / ".hepcalib" / "bundles").glob("response-*")
    shutil.copy(sample, folder / "clusters.root")
    shutil.copytree(bundle, folder / "calibration")
    return folder


def test_own_processor_runs(analysis: Path) -> None:
    out = analysis / "out" / "pileup"
    assert (out / "figures" / "pileup_linearity.png").stat().st_size > 0
    assert '"balanced": true' in (out / "ledger.json").read_text(encoding="utf-8")
    assert '"linearity"' in (out / "metrics.json").read_text(encoding="utf-8")


@pytest.fixture
def run(
    analysis: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Run a script of the guide in that folder; return what it printed."""
    monkeypatch.chdir(analysis)
    monkeypatch.syspath_prepend(str(analysis))
    monkeypatch.delitem(sys.modules, "pileup", raising=False)

    def printed_by(script: str) -> str:
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    return printed_by


def test_processor_runs_from_python(run: Callable[[str], str]) -> None:
    printed = run("run_pileup.py")
    assert "True Counts(expected=10000, processed=10000, skipped=0, failed=0)" in printed


def test_processor_runs_under_coffea(run: Callable[[str], str]) -> None:
    assert "'clusters': 10000" in run("coffea_runner.py")


def test_own_layout_reads(run: Callable[[str], str]) -> None:
    printed = run("own_layout.py")
    assert re.search(r"'energy': 0\.(9|8999)", printed)
    assert "'center_lambda': 120.0" in printed
