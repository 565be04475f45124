from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import hists, inference, metrics, ntuples, run
from hepcalib.decorrelation import DesignedDecorrelation
from hepcalib.exceptions import ConfigError
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.inference.tagging import decorrelator_text
from hepcalib.processors import DecorrelationComparison, JetTagging, TaggerComparison

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coffea.processor import ProcessorABC

    Write = Callable[..., Path]


def processed(processor: ProcessorABC, file: Path) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [file], "flat_jets")
    result = run.process(processor, [dataset])
    assert result.ledger.ok
    return dict(result.output)


@pytest.fixture
def file(tmp_path: Path, jet_file: Write) -> Path:
    return jet_file(tmp_path / "jets.root", counts=[2, 1, 3] * 60)


@pytest.fixture
def decorrelated(tmp_path: Path, file: Path, bundle: Write) -> DecorrelatedTagger:
    """A tagger with a line in the mass behind it."""
    tagger = Handle.of(bundle(tmp_path / "before", model="tagger"))
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    made = DesignedDecorrelation.fit(
        np.asarray(inference.tag(tagger, jets).score),
        {name: np.asarray(jets[name], dtype=np.float64) for name in ("softdrop_mass", "pt")},
        rho_range=(2.0, 6.0),
        bins=5,
    )
    path = tmp_path / "line.json"
    path.write_text(decorrelator_text("designed", made, {}), encoding="utf-8")
    return DecorrelatedTagger.of(path, tagger=tagger)


def test_paths_seeds_and_decorrelators_are_taggers_of_the_study(
    tmp_path: Path, file: Path, bundle: Write, decorrelated: DecorrelatedTagger
) -> None:
    model = bundle(tmp_path / "b", model="tagger")
    taggers: dict[str, Any] = {
        "plain": model,
        "kNN": decorrelated,
        "DisCo": {1.0: model, 10.0: model},
        "MoDe[0]": {1.0: model, 2.0: model, 3.0: model},
    }
    processor = DecorrelationComparison(
        **taggers, seeds=["MoDe[0]"], slices={"pt": (200, 400, 600)}
    )
    study = DecorrelationComparison.study(processed(processor, file))
    trainings = [
        *("plain", "kNN", "DisCo, strength 1", "DisCo, strength 10"),
        *(f"MoDe[0], seed {seed}" for seed in (1, 2, 3)),
    ]
    assert list(study.summary) == [*trainings, "MoDe[0], mean of 3 seeds"]
    assert list(study.metrics["table"]) == [*trainings, "MoDe[0], mean of seeds"]
    row = study.metrics["table"]["plain"]
    merit = study.metrics["merit"]["plain"]
    assert row["R50"] == merit.rejections[0].rejection
    assert row["one_over_jsd"] == merit.jsd.one_over
    assert study.metrics["table"]["MoDe[0], mean of seeds"]["R50_spread"] == pytest.approx(0.0)
    assert set(study.figures) == {
        *("decorrelation", "divergence", "roc", "profile_pt", "efficiency_mu", "efficiency_n_pv"),
        *(
            f"{kind}_{stem}"
            for kind in ("mass", "efficiency_mass")
            for stem in ("plain", "kNN", "DisCo_strength_10")
        ),
    }
    conventions = study.metrics["conventions"]
    assert list(conventions) == [
        f"{base}, pass/{against}" for against in ("fail", "inclusive") for base in ("bits", "nats")
    ]
    bits, nats = (conventions[f"{base}, pass/fail"]["kNN"].jsd for base in ("bits", "nats"))
    assert nats == pytest.approx(np.log(2.0) * bits)
    assert "R50" in study.summary["kNN"]
    assert "if independent" in study.summary["kNN"]


def test_histograms_hold_the_scores_of_the_selected_jets(
    file: Path, decorrelated: DecorrelatedTagger
) -> None:
    processor = DecorrelationComparison(
        kNN=decorrelated,
        pt_range=(300.0, 500.0),
        mass_range=(60.0, 250.0),
        slices={"pt": (300, 500)},
    )
    output = processed(processor, file)
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    jets = jets[(jets.pt >= 300.0) & (jets.pt < 500.0)]
    jets = jets[(jets.softdrop_mass >= 60.0) & (jets.softdrop_mass < 250.0)]
    jets = jets[(jets.label == 0) | (jets.label == 1)]
    score, weight = np.asarray(inference.tag(decorrelated, jets).score), np.asarray(jets.weight)
    for label, truth in (("signal", 1), ("background", 0)):
        rows = np.asarray(jets.label) == truth
        for key, bins in (("score_mass", 1000), ("score_n_pv", 1000), ("slices_pt", 500)):
            ranks = hists.learn_ranks(
                {"kNN": score}, label=np.asarray(jets.label), weight=weight, bins=bins
            )
            found, place = output[key]["kNN", label, :, sum], ranks.places("kNN", score)
            expected, _ = np.histogram(place[rows], found.axes[0].edges, weights=weight[rows])
            np.testing.assert_allclose(found.values(), expected, rtol=1e-6, atol=1e-9)
    found = output["sculpting_pt"]["kNN", sum, :, sum]
    rows = np.asarray(jets.label) == 0
    mass = np.asarray(jets.softdrop_mass)[rows]
    expected, _ = np.histogram(mass, found.axes[0].edges, weights=weight[rows])
    np.testing.assert_allclose(found.values(), expected, rtol=1e-6, atol=1e-9)


def test_jets_without_mu_are_in_the_other_histograms(
    tmp_path: Path, jet_file: Write, bundle: Write
) -> None:
    unknown = np.full(2, np.nan, np.float32)
    path = jet_file(tmp_path / "j.root", counts=[1, 1], mu=unknown, Jet_label=[[0], [1]])
    model = bundle(tmp_path / "b", model="tagger")
    output = processed(DecorrelationComparison(one=model, weights="none", slices={}), path)
    assert set(output) == {"score_mass", "score_mu", "score_n_pv"}
    assert output["score_mu"].sum(flow=True).value == 0.0
    assert output["score_mass"].sum(flow=True).value == 2.0


def test_other_processors_take_a_decorrelated_tagger(
    tmp_path: Path, file: Path, bundle: Write, decorrelated: DecorrelatedTagger
) -> None:
    plain = bundle(tmp_path / "b", model="tagger")
    compared = processed(TaggerComparison(plain=plain, kNN=decorrelated), file)
    costs = metrics.tagger_costs(compared["cost"])
    assert costs["kNN"].parameters == costs["plain"].parameters > 0.0
    column = DecorrelatedTagger(decorrelated.path, decorrelated.sha256, column="trimmed_mass")
    cost = processed(TaggerComparison(mass=column), file)["cost"]
    assert metrics.tagger_costs(cost)["mass"].parameters == 0.0
    folder = str(tmp_path / "columns")
    tagging = JetTagging(plain=plain, decorrelated=decorrelated, columns=folder)
    assert set(JetTagging.study(processed(tagging, file)).metrics) >= {"roc", "decorrelation"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no taggers; needed: at least one"),
        ({"weigths": "none"}, "weigths is 'none'; needed: the name of an option, or a tagger"),
        ({"one": {1.0: 3}}, "one, strength 1 is 3; needed"),
        ({"pt_range": (2, 1)}, "pt_range is"),
        ({"mass": "msoftdrop"}, "mass: unknown value 'msoftdrop'"),
        ({"slices": {"npv": (0, 1)}}, r"slices: unknown value 'npv'\. .*n_pv"),
        ({"slices": {"pt": (2, 1)}}, "bins of 'pt': edges"),
        ({"seeds": ["one"]}, "seeds: 'one' is no role with a scan"),
    ],
)
def test_options_that_cannot_be_meant(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = (
        options if not options or "weigths" in options else {"one": tmp_path} | options
    )
    with pytest.raises(ConfigError, match=message):
        DecorrelationComparison(**given)


def test_label_and_mass_are_needed_in_the_file(tmp_path: Path) -> None:
    assert DecorrelationComparison(one=tmp_path).needs == ("label", "softdrop_mass")
    assert DecorrelationComparison(one=tmp_path, mass="mass").needs == ("label", "mass")
