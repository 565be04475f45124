"""Boosted trees: those of hep_ml, evaluated in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, DataError, TrainingError
from hepcalib.models import BernoulliHead, BoostedTrees, Labelled
from hepcalib.models.boosting import boosted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 3000
METHODS: dict[str, dict[str, Any]] = {
    "flatness": {"method": "flatness", "strength": 200.0},
    "plain": {"method": "plain"},
    "uniform": {"method": "uniform", "learning_rate": 0.5, "strength": 1.0},
}
SMALL: dict[str, Any] = {
    "trees": 20, "depth": 3, "learning_rate": 0.3, "strength": 1.0, "efficiency": 0.2, "bins": 8,
    "neighbours": 30, "subsample": 0.7, "seed": 1,
}  # fmt: skip


def sample(rows: int = ROWS, *, seed: int = 1) -> Labelled:
    """A feature that knows the nuisance, and one that does not; signal in every other row."""
    random = np.random.default_rng(seed)
    signal = np.arange(rows) % 2 == 1
    nuisance = random.normal(size=rows) + signal
    features = np.stack([nuisance + 0.3 * random.normal(size=rows), random.normal(size=rows)], 1)
    features[:, 1] += signal
    values, target, mass = (
        torch.from_numpy(np.asarray(part, dtype=np.float32))
        for part in (features, signal, nuisance)
    )
    return Labelled(Batch(values), target, None, mass)


def made(name: str, **options: Any) -> BoostedTrees:
    model = BoostedTrees(features=2, head=BernoulliHead(), **{**SMALL, **METHODS[name], **options})
    model.eval().finish(sample(), sample(seed=2))
    return model


def logit(model: BoostedTrees, found: Labelled) -> Floats:
    with torch.no_grad():
        return np.asarray(model.outputs(found.batch).squeeze(1).double().numpy())


@pytest.mark.parametrize("name", METHODS)
def test_trees_are_those_of_hep_ml(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On values that are single-precision numbers, as those of a batch are."""
    from hepcalib.models import boosting

    kept = []

    def keeping(function: Any) -> Any:
        def wrapped(*given: Any, **keywords: Any) -> Any:
            kept.append(function(*given, **keywords))
            return kept[-1]

        return wrapped

    for part in ("_flat", "_uniform"):
        monkeypatch.setattr(boosting, part, keeping(getattr(boosting, part)))
    model, test = made(name), sample(seed=3)
    values = np.asarray(test.batch.features)
    if name != "uniform":
        values = boosting._table(values, np.zeros((len(values), 0)))
    expected = kept[0].decision_function(values)
    slope, offset = np.polyfit(expected, logit(model, test), 1)
    np.testing.assert_allclose(logit(model, test), slope * expected + offset, atol=2e-5)
    assert slope == pytest.approx(model.scale.item(), rel=1e-4)
    assert np.std(expected) > 0.1


def test_uniform_ones_tell_the_nuisance_less() -> None:
    test = sample(20_000, seed=4)
    background = ~(test.target > 0.5).numpy()
    assert test.nuisance is not None
    nuisance = test.nuisance.numpy()[background]
    found = {
        name: abs(np.corrcoef(expit(logit(made(name), test))[background], nuisance)[0, 1])
        for name in METHODS
    }
    assert found["plain"] > 0.5
    assert found["flatness"] < 0.5 * found["plain"]
    assert found["uniform"] < 0.8 * found["plain"]


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_probabilities(name: str) -> None:
    """The mean score of the held-out rows is the share of signal: what the offset is fitted to."""
    score = expit(logit(made(name), sample(seed=2)))
    assert score.mean() == pytest.approx(0.5, abs=1e-3)


def test_equal_seeds_give_equal_trees() -> None:
    first, again, other = (made("flatness", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.value, again.value)
    assert not torch.equal(first.value, other.value)


def test_branches_that_end_early_go_on() -> None:
    """One split separates the classes: all deeper nodes lead to its two leaves."""
    features = np.array([[0.0], [1.0]] * 50, dtype=np.float32)
    signal = features[:, 0] > 0.5
    found = boosted(features, signal, **{**SMALL, "method": "plain", "depth": 4, "trees": 2})
    assert found.feature.shape == (2, 15)
    assert found.value.shape == (2, 16)
    assert (found.value[:, :8] == found.value[:, :1]).all()
    assert (found.value[:, 8:] == found.value[:, 8:9]).all()
    assert (found.value[:, 0] < 0).all()
    assert (found.value[:, 8] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ubost"}, "unknown method 'ubost'. Known: flatness, plain, uniform."),
        ({"depth": 13}, "depth is 13; needed: at least 1 and at most 12"),
        ({"trees": 0}, "trees is 0; needed: at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; needed: positive"),
        ({"efficiency": 1.0}, "efficiency 1.0, subsample 0.7; needed: in"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BoostedTrees(features=2, head=BernoulliHead(), **{**SMALL, **options})


def test_what_cannot_be_learnt_from_is_refused() -> None:
    found = sample(200)
    model = BoostedTrees(features=2, head=BernoulliHead(), **SMALL)
    with pytest.raises(TrainingError, match="BoostedTrees, flatness: no nuisance; give uniform_in"):
        model.finish(found._replace(nuisance=None), found)
    with pytest.raises(TrainingError, match="0 of 200 rows are signal; both are needed"):
        model.finish(found._replace(target=torch.zeros(200)), found)
    with pytest.raises(DataError, match="a weight is negative"):
        model.finish(found._replace(weight=-torch.ones(200)), found)
    assert found.nuisance is not None
    holes = found.nuisance.clone()
    holes[7] = torch.nan
    with pytest.raises(DataError, match=r"BoostedTrees: the nuisance is not finite in row 7"):
        model.finish(found._replace(nuisance=holes), found)
