from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import bundles, hists, inference, metrics, ntuples, run
from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.export import inversion_json, write_corrections
from hepcalib.ntuples import quantities
from hepcalib.processors import JetCalibration
from hepcalib.processors.jet_calibration import OUTCOMES, SHOWN
from hepcalib.processors.residuals import corrected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


@pytest.fixture
def calibrate(tmp_path: Path, bundle: Write) -> Callable[..., dict[str, Any]]:
    model = bundle(tmp_path / "bundle", model="jet_response")

    def process(file: Path, **options: Any) -> dict[str, Any]:
        dataset = run.scan_dataset("given", [file], "flat_jets")
        result = run.process(JetCalibration(calibration=model, **options), [dataset])
        assert result.ledger.ok
        return dict(result.output)

    return process


def total(histogram: Any, scale: str) -> float:
    return float(histogram[scale, :, :].sum(flow=True).value)


def test_only_matched_jets_are_counted(
    calibrate: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    links = [[0, -1, 1], [1, -1]]
    path = jet_file(tmp_path / "jets.root", counts=[3, 2], Jet_genJetIdx=links)
    output = calibrate(path, weights="none")
    assert total(output["response_true_pt"], "Raw") == 3.0
    assert output["pull"].view(flow=True)["value"].sum(axis=1).tolist() == [3.0] * 3


def test_coverage_is_that_of_the_interval_that_is_handed_out(
    calibrate: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    true = random.uniform(50.0, 400.0, (50, 4))
    raw = true * np.exp(random.normal(0.0, 2.0, true.shape))
    path = jet_file(
        tmp_path / "jets.root", counts=[4] * 50, Jet_pt=raw.tolist(), GenJet_pt=true.tolist()
    )
    output = calibrate(path, weights="none")
    jets = ak.flatten(ntuples.read(path, "flat_jets"))
    answer = inference.predict(tmp_path / "bundle", jets)
    known = np.asarray(jets.matched)
    response = np.asarray(quantities.measured(jets, "jet", "pt") / jets.gen_pt)[known]
    low, high = (np.asarray(answer[f"interval_{end}"])[known] for end in ("low", "high"))
    expected = np.mean((response >= low) & (response <= high))
    found = metrics.coverage_profile(output["coverage_mu"])["Calibrated"]
    assert 0.0 < expected < 1.0
    assert found.overall == pytest.approx(expected, abs=1e-12)
    assert (
        JetCalibration.study(output)
        .summary["coverage of the 68.3 % interval"]
        .startswith(f"{100 * expected:.1f} +- ")
    )


def test_weights_of_events_or_none(
    calibrate: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(tmp_path / "jets.root")
    weight = ak.sum(ntuples.read(path, "flat_jets").weight)
    assert total(calibrate(path)["response_rho"], "Raw") == pytest.approx(weight, rel=1e-12)
    assert total(calibrate(path, weights="none")["response_rho"], "Raw") == 48.0


def test_response_is_raw_over_true(
    calibrate: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    true = [[300.0, 400.0], [250.0]]
    raw = [[0.75 * pt for pt in event] for event in true]
    path = jet_file(tmp_path / "jets.root", counts=[2, 1], Jet_pt=raw, GenJet_pt=true)
    response = calibrate(path, weights="none")["response_true_pt"]
    assert response["Raw", sum, complex(0, 0.75)].value == 3.0
    assert total(response, "Published") == 0.0
    spectrum = response["Raw", :, sum].values()
    edges = response.axes["true_pt"].edges
    assert spectrum.tolist() == np.histogram([300.0, 400.0, 250.0], edges)[0].tolist()


OF = {"pt": ("Jet_pt", "GenJet_pt"), "mass": ("Jet_mass", "GenJet_mass")}


@pytest.fixture
def calibrate_quantity(tmp_path: Path, bundle: Write) -> Callable[..., dict[str, Any]]:
    """Process a file with an untrained model of a quantity, and save its columns."""

    def process(
        file: Path, quantity: Any, target: Any = "log10_response", **options: Any
    ) -> dict[str, Any]:
        found = bundles.load(bundle(tmp_path / "some", model="jet_response"))
        folder = tmp_path / quantity
        kind: dict[str, Any] = {"kind": "response", "object": "jet", "name": quantity}
        bundles.save(folder, found.model, found.inputs, quantity=quantity, target=target, **kind)
        dataset = run.scan_dataset("given", [file], "flat_jets")
        processor = JetCalibration(
            calibration=folder, weights="none", columns=str(tmp_path / "columns"), **options
        )
        result = run.process(processor, [dataset])
        assert result.ledger.ok
        return dict(result.output)

    return process


def saved(folder: Path) -> dict[str, Any]:
    """Return the columns of the one part that a processor has saved."""
    (part,) = (folder / "columns" / "given").iterdir()
    with np.load(part) as columns:
        return {name.removeprefix("column_"): columns[name] for name in columns}


@pytest.mark.parametrize("quantity", ["pt", "mass"])
def test_response_is_of_the_quantity_of_the_model(
    calibrate_quantity: Callable[..., dict[str, Any]],
    jet_file: Write,
    tmp_path: Path,
    quantity: str,
) -> None:
    true = [[80.0, 130.0], [250.0]]
    raw = [[0.75 * value for value in event] for event in true]
    measured, generated = OF[quantity]
    branches = {measured: raw, generated: true}
    path = jet_file(tmp_path / "jets.root", counts=[2, 1], **branches)
    output = calibrate_quantity(path, quantity)
    response = output[f"response_true_{quantity}"]
    assert response["Raw", sum, complex(0, 0.75)].value == 3.0
    assert total(response, "Published") == total(response, "Residual") == 0.0
    edges = response.axes[1].edges
    expected = np.histogram([80.0, 130.0, 250.0], edges)[0]
    assert response["Raw", :, sum].values().tolist() == expected.tolist()
    assert ("response_true_mass" in output) == (quantity == "mass")
    assert total(output["response_true_pt"], "Raw") == 3.0


def test_a_threshold_does_not_set_the_range_of_a_figure(
    calibrate_quantity: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(
        tmp_path / "j.root", counts=[20], Jet_pt=[[300.0] * 20], GenJet_pt=[[90.0] * 20]
    )
    figures = JetCalibration.study(calibrate_quantity(path, "pt")).figures
    assert figures["linearity_true_pt"].axes[0].get_ylim()[1] == SHOWN[1]
    assert figures["linearity_mu"].axes[0].get_ylim()[1] > 300 / 90 - 1


def test_energy_is_of_momentum_and_mass(
    calibrate_quantity: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    jets = {"pt": 300.0, "eta": 1.0, "mass": 400.0}
    branches = {f"{c}_{k}": [[v]] for c in ("Jet", "GenJet") for k, v in jets.items()}
    path = jet_file(tmp_path / "jets.root", counts=[1], **{**branches, "Jet_mass": [[100.0]]})
    response = calibrate_quantity(path, "energy")["response_true_jet_energy"]
    momentum = 300.0 * np.cosh(1.0)
    ratio = np.hypot(momentum, 100.0) / np.hypot(momentum, 400.0)
    assert response["Raw", sum, complex(0, ratio)].value == 1.0
    place = response.axes[1].index(np.hypot(momentum, 400.0))
    assert response["Raw", int(place), sum].value == 1.0


@pytest.mark.parametrize("target", ["log10_response", "log10_truth"])
def test_jets_without_a_response_are_counted_and_keep_their_row(
    calibrate_quantity: Callable[..., dict[str, Any]],
    jet_file: Write,
    tmp_path: Path,
    target: str,
) -> None:
    path = jet_file(
        tmp_path / "jets.root",
        counts=[3, 2, 1],
        Jet_genJetIdx=[[0, 1, -1], [0, 1], [-1]],
        Jet_mass=[[50.0, -0.01, 50.0], [50.0, 20.0], [0.0]],
        GenJet_mass=[[40.0, 40.0, 40.0], [0.0, 30.0], [1.0]],
    )
    output = calibrate_quantity(path, "mass", target=target)
    found = saved(tmp_path)
    calibrated = np.isfinite(found["mass_calibrated"])
    assert calibrated.tolist() == [True, False, True, True, True, False]
    assert np.array_equal(np.isfinite(found["mass_sigma_tot"]), calibrated)
    assert not found["in_range"][~calibrated].any()
    assert output["jets"].values().tolist() == [2.0, 2.0, 2.0]
    assert output["jets"].variances().tolist() == [2.0, 2.0, 2.0]
    assert total(output["response_true_mass"], "Raw") == 2.0
    study = JetCalibration.study(output)
    assert study.summary["jets not positive"] == "2"
    assert study.metrics["jets"] == dict.fromkeys(OUTCOMES, 2.0)


def test_response_against_flavour(
    calibrate_quantity: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    flavours = [[21, 21], [5], [24, 0]]
    path = jet_file(tmp_path / "jets.root", counts=[2, 1, 2], Jet_flavour=flavours)
    response = calibrate_quantity(path, "pt")["response_flavour"]
    names = hists.VARIABLES["flavour"].names
    by_bin = dict(zip(names, response["Raw", :, sum].values(), strict=True))
    assert {k: n for k, n in by_bin.items() if n} == {"unknown": 1, "$g$": 2, "$b$": 1, "$W$": 1}


def test_the_residual_is_applied_on_top(
    calibrate_quantity: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    true = np.geomspace(50.0, 1500.0, 12)
    response = np.stack([0.8 + 0.02 * np.log(true), np.full(12, 1.1)])
    inversion = NumericalInversion(
        true=true,
        measured=true * response,
        auxiliary={"eta": np.array([-2.5, 0.0, 2.5])},
        spacing="log",
    )
    file = tmp_path / "residual.json"
    write_corrections(file, inversion_json("mine", inversion, variable=("pt_calibrated", "GeV")))
    path = jet_file(tmp_path / "jets.root")
    output = calibrate_quantity(path, "pt", residual=file)
    assert total(output["response_eta"], "Residual") == 48.0
    found = saved(tmp_path)
    eta = np.asarray(ak.flatten(ntuples.read(path, "flat_jets").eta))
    expected = inversion.apply(found["pt_calibrated"], eta=eta)
    # The table has 200 points between 45 and 1650 GeV, 1.8 % apart.
    np.testing.assert_allclose(found["pt_residual"], expected, rtol=1e-5)
    assert np.abs(found["pt_residual"] / found["pt_calibrated"] - 1).min() > 0.01


def test_a_residual_of_something_else_is_refused(tmp_path: Path) -> None:
    inversion = NumericalInversion(
        true=np.array([1.0, 2.0]),
        measured=np.array([[1.0, 2.0]]),
        auxiliary={"eta": np.array([-3.0, 3.0])},
        spacing="log",
    )
    file = tmp_path / "residual.json"
    write_corrections(file, inversion_json("mine", inversion, variable=("mass_calibrated", "GeV")))
    values = np.ones(2)
    with pytest.raises(ConfigError, match="corrects mass_calibrated; the model calibrates pt"):
        corrected(str(file), ak.Array({"eta": values}), values, quantity="pt")
    with pytest.raises(DataError, match="depends on 'eta', which the objects do not have"):
        corrected(str(file), ak.Array({"phi": values}), values, quantity="mass")
    with pytest.raises(DataError, match="'eta' of row 1 is nan; needed: a finite number"):
        corrected(str(file), ak.Array({"eta": [0.0, np.nan]}), values, quantity="mass")
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read as a file of correctionlib"):
        corrected(str(tmp_path / "none.json"), ak.Array({"eta": values}), values, quantity="mass")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights: unknown value 'events'\. .* mean 'event'"):
        JetCalibration(calibration=tmp_path, weights="events")  # type: ignore[arg-type]  # a wrong value
