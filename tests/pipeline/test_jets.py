"""The shipped study of jets runs, on reduced samples: every quantity, and the residual."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import uproot

from hepcalib import hists
from hepcalib.pipeline.residuals import residual_provenance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]

pytestmark = pytest.mark.xdist_group("quickstart")  # one run serves them all

VARIABLES = ("true_pt", "eta", "mu", "n_pv", "rho", "flavour")
OWN = {"pt": "true_pt", "mass": "true_mass", "energy": "true_jet_energy"}


@pytest.fixture(scope="module")
def out(
    quickstart: Path,
    hepcalib: Command,
    reduced: Callable[..., Path],
    drawn_once: None,  # noqa: ARG001 - it changes how figures are saved
) -> Path:
    """The output; the configuration lies beside that of the model of the transverse momentum."""
    folder = quickstart / "jets"
    result = hepcalib("run", reduced("jets.yaml", quickstart), "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_quantity_is_shown_against_every_variable(out: Path) -> None:
    filled = hists.from_json((out / "histograms.json").read_text(encoding="utf-8"))
    metrics = read_json(out / "metrics.json")
    pngs = {path.stem for path in (out / "figures").glob("*.png")}
    for name, own in OWN.items():
        for variable in {own, *VARIABLES}:
            assert f"{name}/response_{variable}" in filled
            assert {f"{name}_{kind}_{variable}" for kind in ("linearity", "resolution")} <= pngs
        scales = {"Raw", "Calibrated"} | ({"Residual"} if name == "pt" else set())
        assert set(metrics[name][f"linearity_{own}"]) == scales


def test_every_jet_is_counted_and_written(out: Path) -> None:
    filled = hists.from_json((out / "histograms.json").read_text(encoding="utf-8"))
    counts = [filled[f"{name}/jets"].values() for name in OWN]
    for name, count in zip(OWN, counts, strict=True):
        response: Any = filled[f"{name}/response_eta"]["Raw", :, :]
        assert response.sum(flow=True).value == count[0]
        rows = 0
        for dataset in ("qcd", "wprime", "top"):
            with uproot.open(out / "columns" / f"{name}_{dataset}.root") as file:
                rows += file["columns"].num_entries
                columns = set(file["columns"].keys())
                assert f"{name}_calibrated" in columns
                assert (f"{name}_residual" in columns) == (name == "pt")
        assert rows == count.sum()


def test_the_residual_is_in_the_workspace_and_in_the_provenance(
    out: Path, quickstart: Path, hepcalib: Command
) -> None:
    (file,) = (quickstart / "workspace" / "residuals").iterdir()
    provenance = read_json(out / "provenance.json")
    assert set(provenance["residuals"]) == {"jet_residual"}
    assert residual_provenance(file)["bundle"] == provenance["bundles"]["jet_response"]
    result = hepcalib("run", quickstart / "jets.yaml", "--dry-run")
    assert "up to date: residual of jet_response" in " ".join(result.output.split())
    file.unlink()
    result = hepcalib("process", quickstart / "jets.yaml", "--out", out.parent / "again")
    assert result.exit_code == 2
    assert "no up-to-date residual jet_residual; run `hepcalib train` first" in result.stderr
    assert hepcalib("train", quickstart / "jets.yaml").exit_code == 0
    assert file.exists()
