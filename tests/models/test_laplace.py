from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models import MLP, PFN, BernoulliHead, MixtureHead, NormalHead
from hepcalib.models.evidential import EvidentialHead
from hepcalib.models.fisher import fisher_information
from hepcalib.models.laplace import Laplace
from hepcalib.models.model import Labelled
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 40


def mlp(**keywords: Any) -> Laplace:
    torch.manual_seed(1)
    return Laplace(MLP(features=3, hidden=(8, 8), head=MixtureHead(2)), **keywords).eval()


def pfn(**keywords: Any) -> Laplace:
    torch.manual_seed(1)
    model = PFN(constituents=3, features=3, phi=(8, 8), f=(8,), head=NormalHead())
    return Laplace(model, **keywords).eval()


def tagger(**keywords: Any) -> Laplace:
    torch.manual_seed(1)
    return Laplace(MLP(features=3, hidden=(8,), head=BernoulliHead()), **keywords).eval()


def jets() -> Labelled:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(ROWS) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    batch = Batch(torch.randn(ROWS, 3, generator=generator), Ragged(values, offsets))
    return Labelled(batch, torch.linspace(0, 1, ROWS))


def finished(model: Laplace, sample: Labelled) -> Laplace:
    model.finish(sample, sample)
    return model


every = pytest.mark.parametrize("make", [mlp, pfn, tagger])


@every
def test_precision_is_the_sum_over_the_rows(make: Callable[..., Laplace]) -> None:
    sample = jets()
    model = finished(make(prior_precision=0.5).double(), sample)
    weights = model._weights().detach()
    raw, features = model._features(sample.batch)
    fisher = fisher_information(model.head, raw)
    precision = 0.5 * torch.eye(weights.numel(), dtype=torch.float64)
    for row in range(ROWS):  # J = 1 (x) features
        pairs = features[row].unsqueeze(1) * features[row]
        precision += torch.kron(fisher[row], pairs)
    torch.testing.assert_close(model.covariance(), torch.linalg.inv(precision))
    torch.testing.assert_close(features @ weights.mT, model.outputs(sample.batch))


@every
def test_blocks_and_weights_of_the_rows(
    make: Callable[..., Laplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = jets()
    expected = finished(make().double(), sample).covariance()
    monkeypatch.setattr("hepcalib.models.laplace.BLOCK", 7)
    torch.testing.assert_close(finished(make().double(), sample).covariance(), expected)
    equal = sample._replace(weight=torch.full((ROWS,), 3.0))  # only their ratios count
    torch.testing.assert_close(finished(make().double(), equal).covariance(), expected)
    half = sample._replace(weight=(torch.arange(ROWS) < ROWS // 2).double())
    first = sample.batch.select(slice(0, ROWS // 2))
    twice = Labelled(Batch(*map(doubled, first)), torch.zeros(ROWS))
    torch.testing.assert_close(
        finished(make().double(), half).covariance(), finished(make().double(), twice).covariance()
    )


def doubled(part: Any) -> Any:
    return Ragged.cat([part, part]) if isinstance(part, Ragged) else torch.cat([part, part])


@every
def test_members_are_the_network_with_drawn_last_weights(make: Callable[..., Laplace]) -> None:
    sample = jets()
    model = finished(make(draws=3), sample)
    members = model.member_outputs(sample.batch)
    assert members.shape == (3, ROWS, model.head.outputs)
    assert members.std(0).min() > 0
    for draw in range(3):
        drawn = finished(make(draws=3), sample)
        layer, shift = drawn._layer(), drawn.factor @ drawn.noise[draw]
        shift = shift.view_as(drawn._weights())
        layer.weight.data = layer.weight.data + shift[:, :-1]
        layer.bias.data = layer.bias.data + shift[:, -1]
        torch.testing.assert_close(drawn.outputs(sample.batch), members[draw])


@every
def test_a_draw_depends_on_seed_and_number_only(make: Callable[..., Laplace]) -> None:
    sample = jets()
    five = finished(make(draws=5), sample).member_outputs(sample.batch)
    torch.rand(7)  # the global generator has no say
    torch.testing.assert_close(
        finished(make(draws=3), sample).member_outputs(sample.batch), five[:3]
    )
    other = finished(make(draws=5, seed=1), sample).member_outputs(sample.batch)
    assert not torch.allclose(other, five, atol=1e-4)
    one = finished(make(draws=5), sample).member_outputs(sample.batch.select(slice(4, 5)))
    torch.testing.assert_close(one[:, 0], five[:, 4], rtol=1e-4, atol=1e-5)
    empty = sample.batch.select(slice(0, 0))
    assert finished(make(draws=5), sample).member_outputs(empty).shape[:2] == (5, 0)


@every
def test_there_is_no_prediction_before_the_fit_and_the_state_carries_it(
    make: Callable[..., Laplace],
) -> None:
    sample = jets()
    model = make(draws=4, prior_precision=3.0, seed=2)
    assert model.outputs(sample.batch).isfinite().all()
    for call in (lambda: model.members(sample.batch), model.covariance):
        with pytest.raises(ConfigError, match=r"not fitted; call finish\(training, held_out\)"):
            call()
    expected = finished(model, sample).member_outputs(sample.batch)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again.member_outputs(sample.batch), expected)
    config = json.loads(json.dumps(model.config))
    config.pop("model")
    torch.manual_seed(8)
    plain = type(model.model)(**{**model.model.config, "head": model.head})
    other = Laplace(plain, **config).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.member_outputs(sample.batch), expected)


def test_the_prior_is_shared_out_over_the_rows() -> None:
    model = mlp(prior_precision=4.0)
    predicted = model(jets().batch)
    found = model.regulariser(predicted, jets().target, rows=100)
    squares = model._layer().weight.square().sum() + model._layer().bias.square().sum()
    assert found.item() == pytest.approx(0.02 * squares.item())


def test_impossible_samples_are_refused() -> None:
    sample = jets()
    weight = torch.ones(ROWS)
    weight[: ROWS // 2 - 1] = -1.0
    with pytest.raises(TrainingError, match=r"not finite and positive; needed"):
        mlp(prior_precision=1e-6).finish(sample._replace(weight=weight), sample)
    model = mlp()
    with torch.no_grad():
        model._layer().weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match="not finite"):
        model.finish(sample, sample)


class Doubled(MLP):
    """Its outputs are not those of its last layer."""

    def outputs(self, batch: Batch) -> Tensor:
        return 2.0 * super().outputs(batch)


def test_models_without_a_last_layer_are_refused() -> None:
    sample = jets()
    doubled = Laplace(Doubled(features=3, hidden=(8,), head=NormalHead())).eval()
    with pytest.raises(ConfigError, match=r"not those of its last layer 'network\.2'"):
        doubled.finish(sample, sample)
    with pytest.raises(ConfigError, match="has 10251 parameters; needed: at most 8192"):
        Laplace(MLP(features=3, hidden=(1138,), head=MixtureHead(3)))
    with pytest.raises(ConfigError, match="Laplace has members of its own"):
        Laplace(mlp())
    with pytest.raises(ConfigError, match="the model predicts Evidence; needed: Normal"):
        Laplace(MLP(features=3, head=EvidentialHead()))
    plain = MLP(features=3, head=NormalHead())
    plain.head = BernoulliHead()
    with pytest.raises(ConfigError, match="does not end in a linear layer with the 1 outputs"):
        Laplace(plain)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"prior_precision": 0.0}, "prior_precision is 0"),
        ({"prior_precision": torch.inf}, "prior_precision is inf"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mlp(**keywords)
