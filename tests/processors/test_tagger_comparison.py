from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import hists, inference, metrics, ntuples, run
from hepcalib.exceptions import ConfigError
from hepcalib.processors import TaggerComparison

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


def processed(processor: TaggerComparison, file: Path) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [file], "flat_jets")
    result = run.process(processor, [dataset])
    assert result.ledger.ok
    return dict(result.output)


def test_every_role_is_a_tagger_and_the_study_names_them(
    tmp_path: Path, jet_file: Write, bundle: Write
) -> None:
    file = jet_file(tmp_path / "jets.root", counts=[2, 1, 3] * 40)
    names = ("PFN", "ParticleNet-Lite", "GN2")
    taggers: dict[str, Any] = {n: bundle(tmp_path / n, model="tagger") for n in names}
    output = processed(TaggerComparison(**taggers, weights="none", timing=True), file)
    study = TaggerComparison.study(output)
    assert tuple(study.summary) == names
    assert set(study.figures) == {"roc", "score", "comparison", "reliability"}
    model = inference.resident(taggers["PFN"]).model
    cost = study.metrics["cost"]["GN2"]
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.jets == 240.0
    assert cost.jets_per_second > 0.0
    assert "R50" in study.summary["PFN"]
    assert "jets/s" in study.summary["PFN"]


def test_scores_are_those_of_the_prediction(tmp_path: Path, jet_file: Write, bundle: Write) -> None:
    file, model = jet_file(tmp_path / "jets.root"), bundle(tmp_path / "b", model="tagger")
    low, high = 300.0, 500.0
    processor = TaggerComparison(one=model, pt_range=(low, high), mass_range=(60.0, 250.0))
    output = processed(processor, file)
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    jets = jets[(jets.pt >= low) & (jets.pt < high)]
    jets = jets[(jets.softdrop_mass >= 60.0) & (jets.softdrop_mass < 250.0)]
    jets = jets[(jets.label == 0) | (jets.label == 1)]
    score, weight = np.asarray(inference.predict(model, jets).score), np.asarray(jets.weight)
    ranks = hists.learn_ranks({"one": score}, label=np.asarray(jets.label), weight=weight)
    for label, truth in (("signal", 1), ("background", 0)):
        rows = np.asarray(jets.label) == truth
        for key, place in (("score_pt", ranks.places("one", score)), ("score", score)):
            found = output[key]["one", label, :, sum]
            expected, _ = np.histogram(place[rows], found.axes[0].edges, weights=weight[rows])
            np.testing.assert_allclose(found.values(), expected, rtol=1e-6, atol=1e-9)
    assert np.isnan(metrics.tagger_costs(output["cost"])["one"].jets_per_second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no taggers; needed: at least one"),
        ({"weigths": "none"}, "weigths is 'none'; needed: the name of an option, or a tagger"),
        ({"pt_range": (2, 1)}, "pt_range is"),
        ({"mass_range": (2, 1)}, "mass_range is"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TaggerComparison(**options)


def test_the_mass_is_needed_only_where_it_selects(tmp_path: Path) -> None:
    assert TaggerComparison(one=tmp_path).needs == ("label",)
    selecting = TaggerComparison(one=tmp_path, mass_range=(50, 100))
    assert selecting.needs == ("label", "softdrop_mass")
