from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from hepcalib import bundles
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.features import Inputs
from hepcalib.interpretation import permutation_importance
from hepcalib.models import MLP, PFN, BernoulliHead, MixtureHead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import awkward as ak

    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

ROWS, SLOPE = 4000, 1.5
KEYS = ["jet.eta", "jet.mu"]


def columns(rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    return {"eta": rng.normal(size=rows), "mu": rng.uniform(20.0, 60.0, rows)}


def saved(path: Path, model: Model, inputs: Inputs, kind: Any = "tagger") -> Bundle:
    return bundles.save(path, model, inputs, kind=kind, object="jet", name="test")


@pytest.fixture(scope="module")
def logistic(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tagger whose logit is SLOPE times the standardised first input."""
    inputs = Inputs(features=KEYS)
    inputs.fit(inputs.extract(columns()))
    model = MLP(features=2, hidden=(), head=BernoulliHead())
    weight, bias = model.parameters()
    with torch.no_grad():
        weight.copy_(torch.tensor([[SLOPE, 0.0]]))
        bias.zero_()
    return saved(tmp_path_factory.mktemp("importance") / "logistic", model, inputs)


@pytest.fixture(scope="module")
def labels(logistic: Bundle) -> np.ndarray[Any, Any]:
    x = logistic.inputs(logistic.inputs.extract(columns())).features
    assert x is not None
    p = expit(SLOPE * x[:, 0].double().numpy())
    drawn = np.random.default_rng(12).random(ROWS)
    return np.asarray(drawn < p, dtype=np.float64)


def test_the_loss_of_a_logistic_model_rises_as_calculated(
    logistic: Bundle, labels: np.ndarray[Any, Any]
) -> None:
    x = logistic.inputs(logistic.inputs.extract(columns())).features
    assert x is not None
    a = SLOPE * x[:, 0].double().numpy()
    found = permutation_importance(logistic, columns(), labels, repetitions=8)
    # -ln p = ln(1 + e^a) - y a: after a permutation the mean of y a becomes <y> <a>.
    expected = np.mean(labels * a) - labels.mean() * a.mean()
    assert found.inputs == tuple(KEYS)
    assert found.loss == pytest.approx(np.mean(np.logaddexp(0.0, a) - labels * a), rel=1e-5)
    assert found.loss_increase[0] == pytest.approx(expected, abs=5 * found.loss_increase_error[0])
    assert 0.0 < found.loss_increase_error[0] < 0.02 * expected
    assert found.auc - found.auc_drop[0] == pytest.approx(0.5, abs=5 * found.auc_drop_error[0])
    assert found.auc > 0.7


def test_an_input_that_is_not_used_is_of_no_importance(
    logistic: Bundle, labels: np.ndarray[Any, Any]
) -> None:
    found = permutation_importance(logistic, columns(), labels)
    assert found.loss_increase[1] == found.auc_drop[1] == found.loss_increase_error[1] == 0.0
    random = np.random.default_rng(13).permutation(labels)
    blind = permutation_importance(logistic, columns(), random)
    assert blind.loss_increase[0] == pytest.approx(0.0, abs=0.1)
    assert blind.auc == pytest.approx(0.5, abs=4.0 / np.sqrt(ROWS))


def test_weights_count_as_repeated_rows(logistic: Bundle, labels: np.ndarray[Any, Any]) -> None:
    weight = np.random.default_rng(14).integers(0, 3, ROWS)
    repeated = {name: np.repeat(values, weight) for name, values in columns().items()}
    with_weights = permutation_importance(logistic, columns(), labels, weight=weight)
    plain = permutation_importance(logistic, repeated, np.repeat(labels, weight))
    assert with_weights.loss == pytest.approx(plain.loss, rel=1e-9)
    assert with_weights.auc == pytest.approx(plain.auc, rel=1e-9)


def test_constituents_and_seeds(tmp_path: Path, jets: Callable[..., ak.Array]) -> None:
    torch.manual_seed(1)
    sample = jets()
    inputs = Inputs(
        features=["jet.eta"], constituents=["constituent.log_pt", "constituent.delta_eta"]
    )
    inputs.fit(inputs.extract(sample))
    model = PFN(features=1, constituents=2, phi=(8,), f=(8,), head=BernoulliHead())
    weight, _ = model.phi.parameters()
    with torch.no_grad():
        weight[:, 1] = 0.0  # the second one is not seen
    bundle = saved(tmp_path / "pfn", model, inputs)
    truth = np.arange(len(sample)) % 2
    found = permutation_importance(bundle, sample, truth)
    assert found.inputs == ("jet.eta", "constituent.log_pt", "constituent.delta_eta")
    assert np.all(found.loss_increase[:2] != 0.0)
    assert found.loss_increase[2] == 0.0
    again = permutation_importance(bundle, sample, truth)
    other = permutation_importance(bundle, sample, truth, seed=1)
    assert np.array_equal(again.loss_increase, found.loss_increase)
    assert not np.array_equal(other.loss_increase[:2], found.loss_increase[:2])


def test_response_models_have_a_loss_only(tmp_path: Path) -> None:
    torch.manual_seed(2)
    inputs = Inputs(features=KEYS)
    inputs.fit(inputs.extract(columns()))
    model = MLP(features=2, hidden=(4,), head=MixtureHead(components=2))
    bundle = saved(tmp_path / "response", model, inputs, kind="response")
    target = np.random.default_rng(3).normal(size=ROWS)
    found = permutation_importance(bundle, columns(), target)
    batch = inputs(inputs.extract(columns()))
    with torch.no_grad():
        loss = -bundle.model(batch).log_prob(torch.tensor(target, dtype=torch.float32)).mean()
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert np.isnan(found.auc)
    assert np.isfinite(found.loss_increase).all()


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"repetitions": 1}, ConfigError, "repetitions is 1; needed: at least 2"),
        ({"target": np.zeros(3)}, ShapeError, r"target of shape \(3,\) for 4000 objects"),
        ({"weight": np.zeros(ROWS)}, DataError, "weights from 0.0 to 0.0"),
        ({"weight": np.full(ROWS, np.nan)}, DataError, "weight of row 0 is nan"),
        ({"weight": -np.ones(ROWS)}, DataError, "weights from -1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    logistic: Bundle, keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    target = keywords.pop("target", np.zeros(ROWS))
    with pytest.raises(error, match=message):
        permutation_importance(logistic, columns(), target, **keywords)
