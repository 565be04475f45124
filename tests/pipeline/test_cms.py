"""The real CMS file through the shipped configuration, with the models of the quickstart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib import hists, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]

pytestmark = pytest.mark.xdist_group("quickstart")  # one run serves them all

EVENTS, JETS = 200, 64
WEIGHT = float(np.float32(350.17))  # of every event


@pytest.fixture(scope="module")
def out(
    quickstart: Path,
    cms_file: Path,
    hepcalib: Command,
    reduced: Callable[..., Path],
    drawn_once: None,  # noqa: ARG001 - it changes how figures are saved
) -> Path:
    """The output for the CMS file; the configuration lies beside that of the models."""
    made = sorted((quickstart / "workspace").rglob("*"))
    config = reduced("cms_nanoaod.yaml", quickstart)
    folder = quickstart / "cms"
    result = hepcalib("run", config, "--data", cms_file.parent, "--out", folder)
    assert result.exit_code == 0, result.output
    assert sorted((quickstart / "workspace").rglob("*")) == made
    return folder


@pytest.fixture(scope="module")
def jets(cms_file: Path) -> ak.Array:
    return ak.flatten(ntuples.read(cms_file, "nanoaod"))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_candidates_add_up_to_their_jet(jets: ak.Array) -> None:
    linked = jets[ak.num(jets.constituents) > 0]
    x = ak.sum(linked.constituents.pt * np.cos(linked.constituents.phi), axis=1)
    y = ak.sum(linked.constituents.pt * np.sin(linked.constituents.phi), axis=1)
    assert len(jets) == JETS
    assert len(linked) == 62
    assert np.median(np.hypot(x, y) / linked.pt) == pytest.approx(1.0, abs=1e-3)
    # The control: the published momenta, which the candidates do not add up to.
    assert abs(np.median(np.hypot(x, y) / linked.pt_published) - 1.0) > 1e-2


def test_ledger_has_every_event_and_weight(out: Path) -> None:
    ledger = read_json(out / "ledger.json")
    assert ledger["balanced"] is True
    (account,) = ledger["datasets"].values()
    assert account["events"] == {"expected": EVENTS, "processed": EVENTS, "skipped": 0, "failed": 0}
    sums = account["sum_of_weights"]
    assert sums["expected"] == sums["processed"] == EVENTS * WEIGHT
    assert sums["processed"] == pytest.approx(70034, rel=1e-7)  # genWeight is stored as float32


def test_every_matched_jet_is_in_the_histograms(out: Path, jets: ak.Array) -> None:
    assert ak.sum(jets.matched) == JETS
    filled = hists.from_json((out / "histograms.json").read_text(encoding="utf-8"))
    names = [name for name in filled if name.startswith("jets/response_")]
    assert len(names) == 6
    for name in names:
        for scale in ("Raw", "Published", "Calibrated"):
            response: Any = filled[name][scale, :, :]
            total = response.sum(flow=True)
            assert total.value / WEIGHT == pytest.approx(JETS, rel=1e-12)
            assert total.variance / WEIGHT**2 == pytest.approx(JETS, rel=1e-12)


def test_columns_have_a_row_per_jet(out: Path, jets: ak.Array) -> None:
    for name in ("jets_ttbar", "tagging_ttbar"):
        with uproot.open(out / "columns" / f"{name}.root") as file:
            columns = file["columns"].arrays(library="np")
        for key in ("run", "lumi", "event", "index"):
            assert np.array_equal(columns[key], np.asarray(jets[key]))
    assert set(columns) >= {"score_plain", "score_decorrelated", "in_range_plain"}
    assert np.all((columns["score_plain"] >= 0) & (columns["score_plain"] <= 1))


def test_figures_show_what_real_data_can(out: Path) -> None:
    pngs = {path.stem for path in (out / "figures").glob("*.png")}
    assert pngs == {path.stem for path in (out / "figures").glob("*.pdf")}
    assert {"jets_linearity_true_pt", "jets_resolution_rho", "jets_pulls", "tagging_score"} <= pngs
    assert "tagging_roc" not in pngs  # there is no truth label
    metrics = read_json(out / "metrics.json")
    assert set(metrics["jets"]["linearity_true_pt"]) == {"Raw", "Published", "Calibrated"}
    assert set(metrics["tagging"]) == {"score"}


def test_without_the_folder_the_variable_is_named(
    quickstart: Path, out: Path, hepcalib: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert out.exists()
    monkeypatch.delenv("HEPCALIB_DATA", raising=False)
    result = hepcalib("run", quickstart / "cms_nanoaod.yaml", "--out", quickstart / "nothing")
    assert result.exit_code == 2
    message = "datasets.ttbar.files.0: the variable HEPCALIB_DATA in"
    assert message in result.stderr
    assert "is not set; export it, or --data" in result.stderr
