from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib import inference, ntuples, run
from hepcalib.exceptions import ConfigError
from hepcalib.processors import JetTagging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


@pytest.fixture
def tag(tmp_path: Path, bundle: Write) -> Callable[..., dict[str, Any]]:
    model = bundle(tmp_path / "bundle", model="tagger")

    def process(file: Path, **options: Any) -> dict[str, Any]:
        processor = JetTagging(plain=model, decorrelated=model, **options)
        dataset = run.scan_dataset("given", [file], "flat_jets")
        result = run.process(processor, [dataset])
        assert result.ledger.ok
        return dict(result.output)

    return process


def labels(output: dict[str, Any], tagger: str = "plain") -> dict[str, float]:
    histogram = output["score_mu"]
    sums = histogram[tagger, :, :, :].view(flow=True)["value"].sum(axis=(1, 2))
    return dict(zip(histogram.axes["label"], sums.tolist(), strict=True))


def test_truth_labels(tag: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path) -> None:
    path = jet_file(tmp_path / "j.root", counts=[3, 2], Jet_label=[[0, 1, 2], [2, -1]])
    output = tag(path, weights="none", signal=2)
    assert labels(output) == {"background": 1.0, "signal": 2.0, "unlabelled": 2.0}
    assert labels(output, "decorrelated") == labels(output)


def test_ranges_select_the_jets(
    tag: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(tmp_path / "jets.root")
    jets = ak.flatten(ntuples.read(path, "flat_jets"))
    mass, pt = np.asarray(jets.trimmed_mass), np.asarray(jets.pt)
    options: dict[str, Any] = {"pt_range": (300, 500), "mass_range": (100, 200)}
    output = tag(path, mass="trimmed_mass", **options)
    chosen = (mass >= 100) & (mass < 200) & (pt >= 300) & (pt < 500)
    weight = np.asarray(jets.weight)[chosen]
    assert 0 < chosen.sum() < len(jets)
    assert sum(labels(output).values()) == pytest.approx(weight.sum(), rel=1e-12)
    spectrum = output["score_mass"]["plain", sum, sum, :]
    expected, _ = np.histogram(mass[chosen], spectrum.axes[0].edges, weights=weight)
    np.testing.assert_allclose(spectrum.values(), expected, rtol=1e-12, atol=1e-12)


def test_columns_have_every_jet(jet_file: Write, bundle: Write, tmp_path: Path) -> None:
    path = jet_file(tmp_path / "jets.root")
    model = bundle(tmp_path / "bundle", model="tagger")
    columns = str(tmp_path / "columns")
    processor = JetTagging(plain=model, decorrelated=model, pt_range=(0, 1), columns=columns)
    dataset = run.scan_dataset("given", [path], "flat_jets")
    assert run.process(processor, [dataset], chunk_size=9).ledger.ok
    assert ntuples.merge_parts(tmp_path / "columns" / "given", tmp_path / "merged.root") == 48
    with uproot.open(tmp_path / "merged.root") as file:
        found = file["columns"].arrays(library="np")
    jets = ak.flatten(ntuples.read(path, "flat_jets"))
    expected = inference.predict(model, jets).score
    np.testing.assert_allclose(found["score_plain"], expected, rtol=1e-5)
    assert np.array_equal(found["index"], np.asarray(jets.index))


def test_without_labels_there_is_only_the_score(
    tag: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    study = JetTagging.study(tag(jet_file(tmp_path / "jets.root", Jet_label=None)))
    assert set(study.metrics) == set(study.figures) == {"score"}
    labelled = JetTagging.study(tag(jet_file(tmp_path / "jets.root")))
    assert set(labelled.metrics) >= {"score", "roc", "decorrelation", "efficiency"}


def test_the_mass_is_needed_in_the_file(tmp_path: Path) -> None:
    assert JetTagging(plain=tmp_path, decorrelated=tmp_path).needs == ("softdrop_mass",)
    other = JetTagging(plain=tmp_path, decorrelated=tmp_path, mass="trimmed_mass")
    assert other.needs == ("trimmed_mass",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pt_range": [500, 200]}, r"pt_range is \[500, 200\]; needed: a lower and an upper"),
        ({"mass_range": [50]}, r"mass_range is \[50\]; needed"),
        ({"mass_range": "50-300"}, r"mass_range is '50-300'; needed"),
        ({"mass": "msoftdrop"}, "mass: unknown value 'msoftdrop'. Known: mass, softdrop_mass, tri"),
        ({"weights": True}, "weights: unknown value 'True'"),
    ],
)
def test_options_that_cannot_be_meant(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        JetTagging(plain=tmp_path, decorrelated=tmp_path, **options)


def test_jets_without_mu_are_in_the_other_histograms(
    tag: Callable[..., dict[str, Any]], jet_file: Write, tmp_path: Path
) -> None:
    unknown = np.full(2, np.nan, np.float32)
    path = jet_file(tmp_path / "jets.root", counts=[1, 1], mu=unknown, Jet_label=[[0], [1]])
    output = tag(path, weights="none", mass_range=(0.0, np.inf))
    sums = {name: output[f"score_{name}"]["plain", sum, sum, sum].value for name in ("mu", "mass")}
    assert sums["mu"] == 0.0
    assert labels({"score_mu": output["score_n_pv"]})["signal"] == 1.0
