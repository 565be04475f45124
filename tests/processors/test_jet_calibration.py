from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import ntuples, run
from hepcalib.exceptions import ConfigError
from processors import JetCalibration

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


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights: unknown value 'events'\. .* mean 'event'"):
        JetCalibration(calibration=tmp_path, weights="events")  # type: ignore[arg-type]
