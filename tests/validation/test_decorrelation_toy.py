"""Every way of decorrelation on three Gaussians, whose best classifiers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.decorrelation import (
    ConditionalFlow,
    DesignedDecorrelation,
    QuantileRegression,
)
from hepcalib.exceptions import CollapseWarning
from hepcalib.metrics import Counts, jsd
from hepcalib.models import MLP, BernoulliHead, BoostedTrees
from hepcalib.samples import three_gaussians as toy
from hepcalib.training import Examples, PenaltyOptions, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from hepcalib.models import Model

    Floats = NDArray[np.float64]
    Record = Callable[[str, object], None]

TEST = 200_000  # events
BINS = 50


class Size(NamedTuple):
    """How long the trainings are."""

    rows: int
    epochs: int
    batch_size: int


SHORT = Size(20_000, 15, 2000)
LONG = Size(200_000, 60, 10_000)

PENALTIES: dict[str, dict[str, Any]] = {
    "distance correlation 30": {"name": "distance_correlation", "strength": 30.0},
    "MoDe[0] 300": {
        "name": "moment_decomposition", "strength": 300.0, "options": {"order": 0},
    },
    "distance correlation at most 3e-4": {
        "name": "distance_correlation", "at_most": 3e-4, "damping": 300.0, "multiplier_rate": 30.0,
    },
    "adversary 30": {
        "name": "adversary", "strength": 30.0, "pretraining_epochs": 2,
        "options": {"components": 5},
    },
}  # fmt: skip

# What a long training needs to come as near: at the strengths above, more likelihood is to be had
# by separating than by independence, and the longer the training, the more of it is found.
STRONG: dict[str, dict[str, Any]] = {
    "distance correlation 300": {"name": "distance_correlation", "strength": 300.0},
    "MoDe[0] 1000": {
        "name": "moment_decomposition", "strength": 1000.0, "options": {"order": 0},
    },
    "distance correlation at most 3e-4": {
        "name": "distance_correlation", "at_most": 3e-4, "damping": 1e3, "multiplier_rate": 1e3,
    },
    "adversary 100": {**PENALTIES["adversary 30"], "strength": 100.0},
}  # fmt: skip


class Found(NamedTuple):
    """Rejection at half of the signal, its relative error, 1/JSD [1/bits] and its limit."""

    rejection: float
    error: float
    one_over_jsd: float
    limit: float


@pytest.fixture(scope="module")
def events() -> toy.ThreeGaussians:
    return toy.simulate(TEST, seed=99)


def _examples(rows: int, seed: int) -> Examples:
    drawn = toy.simulate(rows, seed=seed)
    inputs, target, nuisance = (
        torch.from_numpy(np.asarray(part, dtype=np.float32))
        for part in (drawn.inputs / 1.5, drawn.signal, drawn.nuisance)
    )
    background = torch.from_numpy(~drawn.signal)
    return Examples(Batch(inputs), target, nuisance=nuisance, background=background)


def _trained(model: Model, size: Size, penalty: dict[str, Any] | None, **options: Any) -> Model:
    chosen = None
    if penalty is not None:
        chosen = PenaltyOptions(**{"warmup_epochs": size.epochs // 3, **penalty})
    how = {"learning_rate": 5e-3, "batch_size": size.batch_size, "epochs": size.epochs}
    train(
        model,
        _examples(size.rows, 1),
        _examples(size.rows // 2, 2),
        options=TrainingOptions(**{**how, "threads": 1, **options}, penalty=chosen),
    )
    return model


def _network(
    size: Size, penalty: dict[str, Any] | None = None, *, seed: int = 0, change: int = 0
) -> Model:
    """Train a network; a change moves each of its first weights by about 1e-7 of itself."""
    torch.manual_seed(seed)
    model = MLP(features=2, hidden=(32, 32), head=BernoulliHead())
    if change:
        generator = torch.Generator().manual_seed(change)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 1e-7 * torch.randn(parameter.shape, generator=generator))
    return _trained(model, size, penalty, seed=seed)


def _logit(model: Model, events: toy.ThreeGaussians) -> Floats:
    inputs = Batch(torch.from_numpy((events.inputs / 1.5).astype(np.float32)))
    with torch.no_grad():
        return np.asarray(model.outputs(inputs).squeeze(1).double().numpy())


def measured(score: Floats, events: toy.ThreeGaussians, *, efficiency: float = 0.5) -> Found:
    """Return what a cut at a signal efficiency does to the background."""
    cut = np.quantile(score[events.signal], 1 - efficiency)
    passed = score[~events.signal] > cut
    nuisance = events.nuisance[~events.signal]
    edges = np.quantile(nuisance, np.linspace(0, 1, BINS + 1))
    counts = [np.histogram(nuisance[part], edges)[0].astype(float) for part in (passed, ~passed)]
    found = jsd(*(Counts(part, part) for part in counts))
    # Of the background that passes, and of the cut: with a density r of signal, relative to that
    # of background, at the cut, d ln eB = d eS / (r eB), and r eB is at least eB.
    share = passed.mean()
    near = np.quantile(score[events.signal], [0.5 - 0.02, 0.5 + 0.02])
    of_background = (score[~events.signal] > near[0]).mean() - (
        score[~events.signal] > near[1]
    ).mean()
    slope = of_background / (0.04 * share)
    rows = len(score) / 2
    error = np.hypot(np.sqrt(1 / (rows * share)), slope * np.sqrt(0.25 / rows))
    return Found(float(1 / share), float(error), found.one_over, found.one_over_limit)


def test_the_plain_network_is_the_likelihood_ratio(
    events: toy.ThreeGaussians, record_property: Record
) -> None:
    found = measured(_logit(_network(SHORT._replace(epochs=10)), events), events)
    exact = measured(toy.unconstrained_score(events.inputs), events)
    record_property("R50 of the likelihood ratio", round(exact.rejection, 2))
    record_property("R50 of the network", round(found.rejection, 2))
    assert exact.rejection == pytest.approx(60.95, rel=4 * exact.error)
    # A training with 20,000 events loses some of it, and cannot gain.
    assert 0.8 < found.rejection / toy.UNCONSTRAINED.rejection(0.5) < 1 + 4 * found.error
    assert found.one_over_jsd < 4.0


def test_the_optimum_sculpts_nothing(events: toy.ThreeGaussians) -> None:
    found = measured(toy.decorrelated_score(events.inputs), events)
    assert found.rejection == pytest.approx(10.96, rel=4 * found.error)
    # JSD times its limit's inverse is a chi2 of 49 over 49: four deviations are 0.81.
    assert found.limit / found.one_over_jsd == pytest.approx(1.0, abs=4 * np.sqrt(2 / 49))
    plain = measured(toy.unconstrained_score(events.inputs), events)
    assert plain.limit / plain.one_over_jsd > 50


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_ends_near_the_optimum(
    events: toy.ThreeGaussians, name: str, record_property: Record
) -> None:
    """At least a third of its rejection; above it only as far as it still sculpts."""
    found = measured(_logit(_network(SHORT, PENALTIES[name]), events), events)
    plain = measured(toy.unconstrained_score(events.inputs), events)
    _recorded(record_property, name, found)
    assert found.one_over_jsd > 10 * plain.one_over_jsd
    assert found.rejection > toy.DECORRELATED.rejection(0.5) / 3
    assert found.rejection < 2.5 * toy.DECORRELATED.rejection(0.5)


def _recorded(record_property: Record, name: str, found: Found) -> None:
    record_property(f"R50, {name}", round(found.rejection, 2))
    record_property(f"1/JSD, {name}", round(found.one_over_jsd, 1))
    record_property(f"limit of 1/JSD, {name}", round(found.limit))


def _changed(
    events: toy.ThreeGaussians, size: Size, penalty: dict[str, Any], changes: int
) -> Floats:
    """Return R50, its error, JSD and that of an independent score, for each change; the first
    is none."""
    found = [
        measured(_logit(_network(size, penalty, change=number), events), events)
        for number in range(changes + 1)
    ]
    rows = [(one.rejection, one.error, 1 / one.one_over_jsd, 1 / one.limit) for one in found]
    return np.array(rows)


def _moves(values: Floats) -> float:
    """Return the largest distance from the outcome without a change, relative to it."""
    return float(np.abs(values / values[0] - 1).max())


@pytest.mark.parametrize("changes", [2, pytest.param(10, marks=pytest.mark.validation)])
@pytest.mark.parametrize("name", PENALTIES)
def test_rounding_does_not_decide(events: toy.ThreeGaussians, name: str, changes: int) -> None:
    found = _changed(events, SHORT, PENALTIES[name], changes)
    assert _moves(found[:, 0]) < 0.2
    assert _moves(found[:, 2]) < 0.2


def test_the_floor_of_a_moment_decomposition_lets_rounding_decide(
    events: toy.ThreeGaussians,
) -> None:
    """The control: what it is like where the fluctuation presses the scores together."""
    options = {"order": 0, "unbiased": False}
    old = {**PENALTIES["MoDe[0] 300"], "options": options, "pretraining_epochs": 0}
    assert _moves(_changed(events, SHORT, old, 3)[:, 2]) > 0.5


@pytest.mark.validation
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STRONG)
def test_rounding_does_not_decide_a_long_training(events: toy.ThreeGaussians, name: str) -> None:
    """Less than its statistical error: JSD / E[JSD] is a chi2 of 49 over 49, not central."""
    rejection, error, divergence, floor = _changed(events, LONG, STRONG[name], 10).T
    assert _moves(rejection) < error[0]
    excess = max(divergence[0] - floor[0], 0.0)
    deviation = np.sqrt(2 / (BINS - 1) * floor[0] ** 2 + 4 / (BINS - 1) * floor[0] * excess)
    assert _moves(divergence) * divergence[0] < deviation


@pytest.mark.parametrize("seeds", [(1,), pytest.param(range(10), marks=pytest.mark.validation)])
@pytest.mark.parametrize("name", PENALTIES)
def test_no_seed_collapses(
    events: toy.ThreeGaussians, name: str, seeds: Iterable[int], record_property: Record
) -> None:
    for seed in seeds:
        found = measured(_logit(_network(SHORT, PENALTIES[name], seed=seed), events), events)
        _recorded(record_property, f"{name}, seed {seed}", found)
        assert found.rejection > toy.DECORRELATED.rejection(0.5) / 3


@pytest.mark.parametrize("name", ["distance correlation 30", "distance correlation at most 3e-4"])
def test_a_strength_before_a_separation_collapses(events: toy.ThreeGaussians, name: str) -> None:
    """The control, and that it is said."""
    with pytest.warns(CollapseWarning, match="the score has collapsed"):
        model = _network(SHORT, {**PENALTIES[name], "pretraining_epochs": 0}, seed=1)
    assert measured(_logit(model, events), events).rejection < 2.0


@pytest.mark.validation
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", STRONG)
def test_a_long_training_with_a_penalty(
    events: toy.ThreeGaussians, name: str, record_property: Record
) -> None:
    found = measured(_logit(_network(LONG, STRONG[name]), events), events)
    _recorded(record_property, name, found)
    best = toy.DECORRELATED.rejection(0.5)
    assert found.one_over_jsd > 100.0
    assert best / 3 < found.rejection < 1.5 * best


@pytest.mark.validation
@pytest.mark.timeout(1800)
def test_a_strength_leads_from_one_optimum_to_the_other(
    events: toy.ThreeGaussians, record_property: Record
) -> None:
    path = []
    for strength in (1.0, 5.0, 20.0, 100.0):
        penalty = {"name": "distance_correlation", "strength": strength}
        path.append(measured(_logit(_network(LONG._replace(rows=50_000), penalty), events), events))
        _recorded(record_property, f"strength {strength}", path[-1])
    rejections, sculpting = (np.array(part) for part in list(zip(*path, strict=True))[::2])
    # Each strength rejects less than the one before it and sculpts less, by a tenth at least.
    assert (rejections[1:] < 0.9 * rejections[:-1]).all()
    assert (sculpting[1:] > 1.1 * sculpting[:-1]).all()
    assert rejections[0] < 1.1 * toy.UNCONSTRAINED.rejection(0.5)


AFTER: dict[str, Callable[[Floats, Floats], Any]] = {
    "flow": lambda score, nuisance: ConditionalFlow.fit(
        score, {"nuisance": nuisance}, hidden=(16,), epochs=15
    ),
    "quantiles": lambda score, nuisance: QuantileRegression.fit(
        score, {"nuisance": nuisance}, hidden=(16,), epochs=15
    ),
    # rho' is the nuisance for a mass of exp(X0 / 2) GeV and a transverse momentum of 1 GeV.
    "designed": lambda score, nuisance: DesignedDecorrelation.fit(
        score,
        {"mass": np.exp(nuisance / 2), "pt": np.ones(len(nuisance))},
        rho_range=(-3.0, 3.0),
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_acts_after_the_training_finds_the_shifted_score(
    events: toy.ThreeGaussians, name: str, record_property: Record
) -> None:
    """It knows X0, which separates: R90 is what R50 of the inputs alone is."""
    drawn = toy.simulate(40_000, seed=1)
    kept = ~drawn.signal
    made = AFTER[name](toy.unconstrained_score(drawn.inputs[kept]), drawn.nuisance[kept])
    low, high = drawn.nuisance[kept].min(), drawn.nuisance[kept].max()
    inside = (events.nuisance >= low) & (events.nuisance <= high)
    test = toy.ThreeGaussians(*(part[inside] for part in events))
    columns = {"nuisance": test.nuisance, "mass": np.exp(test.nuisance / 2)}
    columns["pt"] = np.ones(len(test.nuisance))
    score = made(toy.unconstrained_score(test.inputs), columns)
    found = measured(score, test, efficiency=0.9)
    exact = measured(toy.shifted_score(test.inputs, test.nuisance), test, efficiency=0.9)
    _recorded(record_property, name, found)
    assert exact.rejection == pytest.approx(toy.SHIFTED.rejection(0.9), rel=0.05)
    # A cut in the tail of 20,000 background events, of which 330 pass: 1 / sqrt(330) of it.
    assert found.rejection == pytest.approx(exact.rejection, rel=4 / np.sqrt(330))
    before = measured(toy.unconstrained_score(test.inputs), test, efficiency=0.5)
    assert found.one_over_jsd > 10 * before.one_over_jsd


@pytest.mark.parametrize(
    "options",
    [
        {"method": "flatness", "strength": 200.0},
        {"method": "uniform", "depth": 4, "learning_rate": 0.5, "strength": 1.0},
    ],
    ids=["flatness", "uniform"],
)
def test_uniform_boosting_sculpts_less(
    events: toy.ThreeGaussians, options: dict[str, Any], record_property: Record
) -> None:
    trees = BoostedTrees(features=2, trees=60, head=BernoulliHead(), **options)
    found = measured(_logit(_trained(trees, SHORT, None, epochs=1), events), events)
    plain = measured(toy.unconstrained_score(events.inputs), events)
    _recorded(record_property, f"boosted trees, {options['method']}", found)
    assert found.one_over_jsd > 3 * plain.one_over_jsd
    assert found.rejection > toy.DECORRELATED.rejection(0.5) / 3
