from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hepcalib import plots
from hepcalib.cli import main
from hepcalib.config import Loaded, load
from hepcalib.exceptions import CollapseWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

CONFIGS = Path(__file__).parents[2] / "analysis_configs"
DECORRELATORS: dict[str, dict[str, Any]] = {
    "conditional_flow": {"epochs": 2},
    "designed": {"bins": 4},
    "fixed_efficiency": {"bins": 2, "minimum_entries": 10},
    "quantile_regression": {"epochs": 2, "quantiles": 5},
}


def _reduced(name: str, folder: Path, *, workspace: Path | None = None) -> Path:
    """Write a shipped configuration with small samples and short trainings; return its path."""
    document = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    for name_of_sample, sample in document.get("samples", {}).items():
        if sample["kind"] == "topoclusters":
            sample["clusters"] = 4000
        else:
            sample["events"] = 300 if name_of_sample in _fitted_to(document) else 120
    for model in document.get("models", {}).values():
        if "training" in model:
            # Constituents and their neighbours: 256 jets take ParticleNet 5 GB.
            batch = 48 if "constituents" in model.get("inputs", {}) else 256
            model["training"] |= {"epochs": 3, "batch_size": batch, "min_steps": 0}
            model["training"].pop("examples", None)
            if "parts" in model["training"]:
                model["training"] |= {"part": 1, "parts": 2}
        if "penalty" in model:
            model["penalty"]["warmup_epochs"] = 1
            model["penalty"].pop("pretraining_epochs", None)
        _reduce_network(model.get("network"))
    for scan in document.get("scans", {}).values():
        scan["values"] = [500, 1000] if scan["key"] == "training.examples" else scan["values"][:2]
    for residual in document.get("residuals", {}).values():
        residual |= {"true_bins": 2, "minimum_entries": 1}
    for decorrelator in document.get("decorrelators", {}).values():
        scan = decorrelator["score"].rpartition("-")[0]
        if scan:  # a member of it, which may be gone
            decorrelator["score"] = f"{scan}-{document['scans'][scan]['values'][0]}"
        given = decorrelator.get("options", {})  # which several may share
        decorrelator["options"] = {**given, **DECORRELATORS[decorrelator["method"]]}
    document["workspace"] = str(workspace or folder / "workspace")
    document["run"] = {"executor": "iterative", "workers": 1, "chunk_size": 1500}
    path = folder / name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _fitted_to(document: dict[str, Any]) -> set[str]:
    """Return the samples that decorrelators are fitted to: they need a hundred jets."""
    used = {d for one in document.get("decorrelators", {}).values() for d in one["datasets"]}
    return {document["datasets"][name]["sample"] for name in used}


def _reduce_network(network: dict[str, Any] | None) -> None:
    """Give a network, and those inside, few members."""
    while network is not None:
        if network["name"] == "Bayesian" or "draws" in network:
            network["draws"] = 3
        if network["name"] == "GaussianAnsatz":
            network["warmup"] = 5
        if "trees" in network:
            network["trees"] = 3
        if "members" in network:
            network["members"] = 2
        network = network.get("model")


def _hepcalib(*arguments: str | Path) -> Result:
    """Run the command in this process; a hundred jets need not make a tagger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def hepcalib() -> Callable[..., Result]:
    return _hepcalib


@pytest.fixture(scope="session")
def reduced() -> Callable[..., Path]:
    return _reduced


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Loaded]:
    """Write a configuration with these sections and load it; the workspace is in `tmp_path`."""

    def load_document(**sections: Any) -> Loaded:
        start = {"version": 1, "name": "test", "workspace": str(tmp_path / "workspace")}
        document = {**start, "datasets": {}, "analyses": {}, **sections}
        path = tmp_path / "test.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return load(path)

    return load_document


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished reduced quickstart: quickstart.yaml, workspace and out."""
    folder = tmp_path_factory.mktemp("quickstart")
    result = _hepcalib("run", _reduced("quickstart.yaml", folder), "--out", folder / "out")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """Draw each figure once as it is, in memory, and write empty files instead of a PNG and a PDF.

    The search for a layout and the fonts of a PDF take most of the time of a study; the tests of
    the figures and the quickstart have them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", _draw)
        yield


def _draw(figure: Figure, path: Path) -> tuple[Path, Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.pdf")
    with plots.style():
        figure.set_layout_engine("none")
        figure.draw_without_rendering()
    figure.clear()
    for file in written:
        file.touch()
    return written


@pytest.fixture(scope="session")
def cms_file() -> Path:
    shared = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("HEPCALIB_DATA", shared)) / "cms_nanoaodv15_ttbar.root"
    if not path.exists():
        pytest.skip(f"{path} is not there: set HEPCALIB_DATA to the folder of the example files")
    return path
