"""Who may import whom: the way of the data, and what runs without the rest of the HEP stack."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hepcalib

PACKAGE = Path(hepcalib.__file__).parent
PROCESSORS = (PACKAGE / "processors").resolve()  # a link, in the source tree

# From the ntuple to the figure; a room imports rooms above it only. The tensors (ragged, batch)
# stand before the features, which are computed into them.
ORDER = (
    "exceptions",
    "casting",
    "documents",
    "processes",
    "samples",
    "ntuples",
    "settings",
    "tensors",
    "ragged",
    "batch",
    "features",
    "losses",
    "models",
    "calibration",
    "decorrelation",
    "training",
    "weights",
    "bundles",
    "inference",
    "interpretation",
    "export",
    "hists",
    "metrics",
    "plots",
    "study",
    "config",
    "run",
    "pipeline",
    "stopping",
    "cli",
    "__main__",
)
TORCH_AND_NUMPY_ONLY = ("models", "losses", "ragged", "batch", "training", "calibration")
HEAVY = ("awkward", "coffea", "dask", "hist", "matplotlib", "mplhep", "pandas", "scipy", "uproot")
FILES = sorted(f for f in PACKAGE.rglob("*.py") if not f.resolve().is_relative_to(PROCESSORS))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source: str) -> set[str]:
    """The modules that a source imports anywhere, with `from a import b` as a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{a.name}" for a in node.names}
    return found


def rooms_in(modules: set[str]) -> set[str]:
    """The rooms of hepcalib among imported modules; names of the package itself are no rooms."""
    parts = [m.split(".") for m in modules if m.startswith("hepcalib.")]
    return {part[1] for part in parts if part[1] in ORDER or not part[1].startswith("__")}


def imports_of(file: Path) -> set[str]:
    return imported(file.read_text(encoding="utf-8"))


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b\nif x:\n    from c import d, e\ndef f():\n    from .g import h\n"
    assert imported(source) == {"a.b", "c.d", "c.e", ".g.h"}
    assert rooms_in({"hepcalib.run", "hepcalib.__version__", "torch.nn"}) == {"run"}


def test_every_room_has_its_place() -> None:
    assert {room_of(file) for file in FILES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_rooms_import_along_the_way_of_the_data(room: str) -> None:
    allowed = {*ORDER[: ORDER.index(room) + 1]}
    for file in FILES:
        if room_of(file) == room:
            assert rooms_in(imports_of(file)) <= allowed, file


def test_imports_are_absolute_and_spare_the_processors() -> None:
    for file in FILES:
        for module in imports_of(file):
            assert not module.startswith("."), file
            assert not f"hepcalib.{module}".startswith("hepcalib.processors"), file
            assert not module.startswith("hepcalib.processors"), file


def test_only_reading_and_running_touch_uproot() -> None:
    users = {room_of(file) for file in FILES if "uproot" in tops(file)}
    assert "ntuples" in users
    assert users <= {"ntuples", "run"}
    assert not [file for file in PROCESSORS.rglob("*.py") if "uproot" in tops(file)]


def tops(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imports_of(file)}


def loaded_by(*rooms: str) -> set[str]:
    """The top-level modules in a process that has imported these rooms only."""
    names = ", ".join(f"hepcalib.{room}" for room in rooms)
    code = f"import sys, {names}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_learning_needs_torch_and_numpy_only() -> None:
    loaded = loaded_by(*TORCH_AND_NUMPY_ONLY)
    assert {"hepcalib", "numpy", "torch"} <= loaded
    assert not loaded & set(HEAVY)


def test_the_check_sees_what_a_room_loads() -> None:
    assert {"awkward", "coffea", "uproot"} <= loaded_by("ntuples")
