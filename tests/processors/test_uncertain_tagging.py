from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import inference, interpretation, ntuples, run
from hepcalib.exceptions import ConfigError
from hepcalib.processors import UncertainTagging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

SHIFTS: dict[str, Any] = {"shifts": [-0.1, 0.2], "spreads": [0.05], "weights": "none"}


def processed(processor: UncertainTagging, file: Path, **options: Any) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [file], "flat_jets")
    result = run.process(processor, [dataset], **options)
    assert result.ledger.ok
    return dict(result.output)


@pytest.fixture
def file(tmp_path: Path, jet_file: Write) -> Path:
    return jet_file(tmp_path / "jets.root", counts=[2, 1, 3] * 20)


@pytest.fixture
def tagger(tmp_path: Path, bundle: Write) -> Path:
    return bundle(tmp_path / "bayesian", model="bayesian_tagger")


def test_changes_are_those_of_the_shifted_columns(file: Path, tagger: Path) -> None:
    output = processed(UncertainTagging(tagger=tagger, **SHIFTS), file)
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    nominal = inference.predict(tagger, jets)
    for key, shift, shifted in (
        ("hardest", "+0.2", interpretation.hardest_scaled(jets, 0.2)),
        ("regions", "0.05", interpretation.regions_scaled(jets, 0.05)),
    ):
        answer = inference.predict(tagger, shifted)
        for quantity in ("score", "logit_mean", "logit_stat"):
            found = output[f"{key}_{quantity}"][shift, sum, :]
            change = np.asarray(answer[quantity] - nominal[quantity])
            expected, _ = np.histogram(change, found.axes[0].edges)
            # A change of 0 up to rounding may be on either side of an edge.
            assert np.abs(found.values() - expected).sum() <= 2
    assert np.median(np.asarray(nominal.logit_stat)) > 0.1


def test_without_networks_there_is_no_ratio_and_with_them_there_is(
    tmp_path: Path, file: Path, tagger: Path, bundle: Write
) -> None:
    plain = processed(UncertainTagging(tagger=tagger, **SHIFTS), file)
    assert "width_ratio" not in plain
    networks = {
        1.0: bundle(tmp_path / "one", model="tagger"),
        2.0: bundle(tmp_path / "two", model="bayesian_tagger"),
    }
    output = processed(UncertainTagging(tagger=tagger, networks=networks, **SHIFTS), file)
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    logits = [np.asarray(inference.predict(path, jets).logit_mean) for path in networks.values()]
    # Of two normal numbers: |a - b| / sqrt(2), whose median is 0.6745 standard deviations.
    width = np.abs(logits[0] - logits[1]) / np.sqrt(2.0) / 0.6744897501960817
    known = width > 0.0  # not of jets that all networks are sure of
    ratio = np.asarray(inference.predict(tagger, jets).logit_stat)[known] / width[known]
    histogram = output["width_ratio"]
    expected, _ = np.histogram(ratio, histogram.axes[1].edges)
    assert np.abs(histogram[sum, :].values() - expected).sum() <= 2
    assert "width_ratio" in UncertainTagging.study(output).figures


def test_study_shows_every_figure(file: Path, tagger: Path) -> None:
    study = UncertainTagging.study(processed(UncertainTagging(tagger=tagger, **SHIFTS), file))
    toys = {f"{toy}_{what}" for toy in ("hardest", "regions") for what in ("score", "logit_mean")}
    assert toys | {"reliability", "score_spread", "logit_width_hardest"} <= set(study.figures)
    assert "expected calibration error" in study.summary
    assert study.metrics["hardest_score"]["signal"].shifts == ("-0.1", "+0.2")


def test_jets_without_labels_are_unlabelled(tmp_path: Path, jet_file: Write, tagger: Path) -> None:
    data = jet_file(tmp_path / "data.root", Jet_label=None)
    output = processed(UncertainTagging(tagger=tagger, **SHIFTS), data)
    assert output["score_pt"]["tagger", "unlabelled", sum, sum].value == 48.0
    assert np.isnan(UncertainTagging.study(output).metrics["reliability"]["tagger"].error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shifts": []}, r"shifts is \[\]; needed: different numbers above -0.9"),
        ({"shifts": [0.1, 0.1]}, r"shifts is \[0.1, 0.1\]"),
        ({"shifts": [-1.0]}, r"shifts is \[-1.0\]"),
        ({"spreads": [0.0]}, r"spreads is \[0.0\]; needed: different numbers above 0"),
        ({"networks": {1.0: "one"}}, "networks: one network; needed: a scan of at least two"),
        ({"networks": "one"}, "networks: one network"),
        ({"weights": "all"}, "weights: unknown value 'all'"),
    ],
)
def test_options_that_cannot_be_meant(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        UncertainTagging(tagger=tmp_path, **options)
