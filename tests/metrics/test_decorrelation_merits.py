from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from scipy.special import expit, ndtr

from hepcalib import hists, metrics
from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from hist import Hist

    from hepcalib.metrics.counts import Floats

ROWS = 60_000
TAGGERS = ("independent", "sculpting")
EDGES = (200.0, 400.0, 600.0, 1000.0)


class Jets(NamedTuple):
    mass: Floats
    pt: Floats
    score: dict[str, Floats]


def jets(mean: float, seed: int) -> Jets:
    """Scores of which one knows the mass; the separation falls with pt above 400 GeV."""
    rng = np.random.default_rng(seed)
    mass = 50.0 + rng.exponential(60.0, ROWS)
    pt = rng.uniform(200.0, 900.0, ROWS)
    logit = rng.normal(np.where(pt < 400.0, mean, 0.75 * mean), 1.0, ROWS)
    bump = 1.2 * np.exp(-0.5 * ((mass - 80.0) / 15.0) ** 2)
    return Jets(mass, pt, {"independent": expit(logit), "sculpting": expit(logit + bump)})


@pytest.fixture(scope="module")
def truths() -> dict[str, Jets]:
    return {"background": jets(-1.0, 101), "signal": jets(1.0, 102)}


@pytest.fixture(scope="module")
def filled(truths: dict[str, Jets]) -> dict[str, Hist[Any]]:
    made: dict[str, Hist[Any]] = {
        "fine": hists.score("mass", taggers=TAGGERS, ranks=learned(truths, 2000)),
        "coarse": hists.score("mass", taggers=TAGGERS, ranks=learned(truths)),
        "slices": hists.score("pt", taggers=TAGGERS, ranks=learned(truths), edges=EDGES),
        "sculpting": hists.sculpting("pt", taggers=TAGGERS, ranks=learned(truths), edges=EDGES),
    }
    for label, found in truths.items():
        for tagger, score in found.score.items():
            where: dict[str, Any] = {"tagger": tagger, "score": score}
            coarse: dict[str, Any] = {**where, "ranks": learned(truths)}
            fine: dict[str, Any] = {**where, "ranks": learned(truths, 2000)}
            hists.fill_score(made["fine"], label=label, values=found.mass, **fine)
            hists.fill_score(made["coarse"], label=label, values=found.mass, **coarse)
            hists.fill_score(made["slices"], label=label, values=found.pt, **coarse)
            if label == "background":
                hists.fill_sculpting(made["sculpting"], mass=found.mass, values=found.pt, **coarse)
    return made


def learned(truths: dict[str, Jets], bins: int = 500) -> hists.Ranks:
    """Ranks of a tenth of the jets."""
    parts = {t: [found.score[t][::10] for found in truths.values()] for t in TAGGERS}
    scores = {tagger: np.concatenate(found) for tagger, found in parts.items()}
    return hists.learn_ranks(scores, label=np.repeat([0, 1], ROWS // 10), bins=bins)


def test_an_independent_score_is_inside_of_every_noise(filled: dict[str, Hist[Any]]) -> None:
    found = metrics.decorrelation_merits(filled["coarse"])["independent"]
    band, flat = found.band, found.flatness
    assert band.low - 2.0 * (band.high - band.low) < found.jsd.jsd
    assert found.jsd.jsd < band.high + 2.0 * (band.high - band.low)
    assert flat.deviation < flat.expected_high + 2.0 * (flat.expected_high - flat.expected_low)
    assert abs(found.correlation.squared) < 5.0 * found.correlation.noise


def test_a_score_that_knows_the_mass_is_outside_of_every_noise(
    filled: dict[str, Hist[Any]],
) -> None:
    found = metrics.decorrelation_merits(filled["coarse"])["sculpting"]
    band, flat = found.band, found.flatness
    assert found.jsd.jsd > band.high + 10.0 * (band.high - band.low)
    assert flat.deviation > flat.expected_high + 3.0 * (flat.expected_high - flat.expected_low)
    assert found.correlation.squared > 10.0 * found.correlation.squared_error
    assert 60.0 < flat.at < 100.0


def test_rejections_and_area_of_two_normals() -> None:
    rng = np.random.default_rng(103)
    filled = hists.score("mass", taggers=["one"])
    for label, mean in (("background", 0.0), ("signal", 1.0)):
        score = expit(rng.normal(mean, 1.0, 200_000) - 0.5)
        hists.fill_score(
            filled, tagger="one", label=label, score=score, values=rng.uniform(50, 300, 200_000)
        )
    found = metrics.decorrelation_merits(filled, replicas=50)["one"]
    # The straight lines between the bins lower the rejection by at most 0.5 % (0.2 in the logit).
    for rejection, exact in zip(found.rejections, (6.303, 15.70), strict=True):
        assert rejection.rejection == pytest.approx(
            exact, abs=4.0 * rejection.rejection_error + 0.005 * exact
        )
    assert found.auc == pytest.approx(ndtr(1.0 / np.sqrt(2.0)), abs=4.0 * found.auc_error + 1e-4)


def test_a_quarter_of_the_bins_gives_the_same(filled: dict[str, Hist[Any]]) -> None:
    fine, coarse = (metrics.decorrelation_merits(filled[key]) for key in ("fine", "coarse"))
    for tagger in TAGGERS:
        for place in (0, 1):
            expected, error = fine[tagger].rejections[place][3:]
            found = coarse[tagger].rejections[place].rejection
            assert found == pytest.approx(expected, abs=0.005 * expected + 0.2 * error)
        assert coarse[tagger].auc == pytest.approx(fine[tagger].auc, abs=5e-5)
        error = fine[tagger].jsd.jsd_error
        assert coarse[tagger].jsd.jsd == pytest.approx(fine[tagger].jsd.jsd, abs=0.2 * error)
        error = fine[tagger].correlation.squared_error
        assert coarse[tagger].correlation.squared == pytest.approx(
            fine[tagger].correlation.squared, abs=0.2 * error
        )


def test_profiles_are_the_merits_of_the_jets_in_each_bin(
    filled: dict[str, Hist[Any]], truths: dict[str, Jets]
) -> None:
    found = metrics.decorrelation_profiles(filled["slices"], filled["sculpting"], replicas=20)
    for bin_, (low, high) in enumerate(itertools.pairwise(EDGES)):
        ranks = learned(truths)
        alone = hists.score("mass", taggers=TAGGERS, ranks=ranks)
        for label, jets_ in truths.items():
            chosen = (jets_.pt >= low) & (jets_.pt < high)
            for tagger, score in jets_.score.items():
                hists.fill_score(
                    alone,
                    tagger=tagger,
                    label=label,
                    score=score[chosen],
                    values=jets_.mass[chosen],
                    ranks=ranks,
                )
        expected = metrics.decorrelation_merits(alone, replicas=20)
        for tagger in TAGGERS:
            assert found[tagger].merits[bin_] == expected[tagger]
    rejections, errors = found["independent"].rejection()
    assert rejections[0] > rejections[1] + 5.0 * np.hypot(errors[0], errors[1])
    for values, spreads in (
        found["sculpting"].one_over_jsd(),
        found["sculpting"].flatness(),
        found["sculpting"].correlation(),
    ):
        assert values.shape == spreads.shape == (3,)
        assert np.isfinite([values, spreads]).all()


def test_profiles_need_the_same_bins(filled: dict[str, Hist[Any]]) -> None:
    other = hists.sculpting("pt", taggers=TAGGERS)
    with pytest.raises(ShapeError, match="taggers, scores or bins differ"):
        metrics.decorrelation_profiles(filled["slices"], other)


def test_conventions_choose_bins_and_range(
    filled: dict[str, Hist[Any]], truths: dict[str, Jets]
) -> None:
    convention = metrics.Convention(bins=10, low=60.0, high=160.0)
    found = metrics.decorrelation(filled["fine"], convention=convention)["sculpting"].jsd
    signal, background = (truths[label] for label in ("signal", "background"))
    cut = np.quantile(signal.score["sculpting"], 0.5)
    parts = []
    for chosen in (background.score["sculpting"] > cut, background.score["sculpting"] <= cut):
        counted = np.histogram(background.mass[chosen], np.linspace(60.0, 160.0, 11))[0]
        parts.append(metrics.Counts(counted.astype(float), counted.astype(float)))
    expected = metrics.jsd(*parts)
    assert found.bins == 10
    # A cut in the middle of a bin takes a share of it: a few jets at random.
    assert found.jsd == pytest.approx(expected.jsd, abs=0.2 * expected.jsd_error)
    default = metrics.decorrelation(filled["fine"])["sculpting"].jsd
    assert default.jsd != pytest.approx(found.jsd, rel=0.01)


@pytest.mark.parametrize(
    "convention",
    [
        metrics.Convention(bins=40),
        metrics.Convention(low=0.0),
        metrics.Convention(bins=1),
        metrics.Convention(low=300.0, high=50.0),
        metrics.Convention(bins=100),
    ],
)
def test_bins_that_cut_those_of_the_histogram_are_refused(
    convention: metrics.Convention, filled: dict[str, Hist[Any]]
) -> None:
    with pytest.raises(ConfigError, match=r"divergence: .* needed: at least 2, with edges among"):
        metrics.decorrelation_merits(filled["coarse"], convention=convention)


def test_without_jets_all_is_nan(filled: dict[str, Hist[Any]]) -> None:
    empty = {name: histogram.copy().reset() for name, histogram in filled.items()}
    found = metrics.decorrelation_merits(empty["coarse"])["independent"]
    assert np.isnan([found.auc, found.jsd.jsd, found.band.mean, found.flatness.deviation]).all()
    assert np.isnan([found.correlation.squared, *found.rejections[0][1:]]).all()
    profile = metrics.decorrelation_profiles(empty["slices"], empty["sculpting"])["sculpting"]
    assert np.isnan([*profile.rejection()[0], *profile.one_over_jsd()[0]]).all()


@pytest.mark.parametrize("weight", [-1.0, 1.0])
def test_one_background_jet_is_a_result_without_a_number(weight: float) -> None:
    filled = hists.score("mass", taggers=["one"])
    score = np.linspace(0.1, 0.9, 9)
    hists.fill_score(filled, tagger="one", label="signal", score=score, values=[80.0] * 9)
    hists.fill_score(
        filled, tagger="one", label="background", score=[0.2], values=[100.0], weight=[weight]
    )
    found = metrics.decorrelation_merits(filled)["one"]
    assert np.isnan([found.jsd.jsd, found.correlation.squared, found.flatness.deviation]).all()
