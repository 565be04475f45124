from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    GaussianAnsatz,
    MixtureHead,
    Model,
    NormalHead,
)
from hepcalib.models.dropout import Dropout
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 6
RATE, TERMS = 0.3, 20
VARIANCE = TERMS * RATE / (1 - RATE)


class LinearModel(Model):
    """The sum of the features, or of all features of the constituents of each row."""

    constituent_modules: ClassVar[tuple[str, ...]] = ("constituent",)

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.constituent = nn.Linear(inputs, 2, bias=False)
        self.linear = nn.Linear(inputs, 2, bias=False)
        self.head = NormalHead()
        for layer in (self.constituent, self.linear):
            nn.init.ones_(layer.weight)

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        if batch.constituents is not None:
            return batch.constituents.map(self.constituent).sum()
        assert batch.features is not None
        raw: Tensor = self.linear(batch.features)
        return raw


def mlp(**keywords: Any) -> Dropout:
    torch.manual_seed(1)
    return Dropout(MLP(features=3, hidden=(8, 8), head=MixtureHead(2)), **keywords).eval()


def pfn(**keywords: Any) -> Dropout:
    torch.manual_seed(1)
    model = PFN(constituents=3, features=3, phi=(8, 8), f=(8,), head=NormalHead())
    return Dropout(model, **keywords).eval()


def jets() -> Batch:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(ROWS) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Batch(torch.randn(ROWS, 3, generator=generator), Ragged(values, offsets))


both = pytest.mark.parametrize("make", [mlp, pfn])


def test_variance_of_a_sum_is_that_of_independent_masks() -> None:
    draws = 4000
    model = Dropout(LinearModel(TERMS), rate=RATE, draws=draws, inputs=True)
    ones = torch.ones(draws, TERMS)
    assert pytest.approx(8.571, abs=1e-3) == VARIANCE
    # standard error of a variance sqrt(2 / draws) = 2.2 %, of the mean sqrt(variance / draws)
    tolerance = 5 * (2 / draws) ** 0.5
    members = model.eval().member_outputs(Batch(ones[:2]))
    assert members[:, 0, 0].var().item() == pytest.approx(VARIANCE, rel=tolerance)
    assert members[:, 0, 0].mean().item() == pytest.approx(TERMS, abs=5 * (VARIANCE / draws) ** 0.5)
    assert torch.equal(members[:, 0], members[:, 1])  # one function: the same for equal rows
    trained = model.train().outputs(Batch(ones))[:, 0]
    assert trained.var().item() == pytest.approx(VARIANCE, rel=tolerance)
    unscaled = RATE * (1 - RATE) * TERMS  # without the factor 1 / (1 - rate)
    assert unscaled != pytest.approx(VARIANCE, rel=tolerance)


def test_constituents_of_a_jet_share_their_mask_in_training_as_in_prediction() -> None:
    draws, count = 600, 25
    plain = LinearModel(TERMS)
    jet = Batch(constituents=Ragged(torch.ones(count, TERMS), torch.tensor([0, count])))
    model = Dropout(plain, rate=RATE, draws=draws, inputs=True).eval()
    expected, tolerance = count**2 * VARIANCE, 5 * (2 / draws) ** 0.5
    predicted = model.member_outputs(jet)[:, 0, 0].var().item()
    assert predicted == pytest.approx(expected, rel=tolerance)
    model.train()
    trained = torch.stack([model.outputs(jet)[0, 0] for _ in range(draws)]).var().item()
    assert trained == pytest.approx(expected, rel=tolerance)
    model.model.constituent_modules = ()  # type: ignore[misc]  # masks of their own average out
    alone = torch.stack([model.outputs(jet)[0, 0] for _ in range(draws)]).var().item()
    assert alone == pytest.approx(count * VARIANCE, rel=tolerance)


@pytest.mark.parametrize("inputs", [False, True])
def test_every_member_is_the_network_with_masked_inputs(inputs: bool) -> None:
    model, batch = mlp(draws=3, rate=0.4, inputs=inputs), jets()
    members = model.member_outputs(batch)
    assert isinstance(model.model, MLP)
    for draw in range(3):
        values, layer = batch.features, 0 if inputs else -1
        assert values is not None
        for module in model.model.network:
            if isinstance(module, nn.Linear):
                mask = 1.0 if layer < 0 else model.get_buffer(f"kept_{layer}")[draw] / 0.6
                values = functional.linear(values * mask, module.weight, module.bias)
                layer += 1
            else:
                values = module(values)
        torch.testing.assert_close(members[draw], values)


@both
def test_a_draw_depends_on_seed_and_number_only(make: Callable[..., Dropout]) -> None:
    batch = jets()
    five = make(draws=5).member_outputs(batch)
    assert five.shape[:2] == (5, ROWS)
    torch.rand(7)  # the global generator has no say
    torch.testing.assert_close(make(draws=3).member_outputs(batch), five[:3])
    torch.testing.assert_close(make(draws=5).train().member_outputs(batch), five)
    double = make(draws=5).double().member_outputs(batch)
    torch.testing.assert_close(double, five.double(), rtol=0, atol=1e-6)
    assert not torch.allclose(make(draws=5, seed=1).member_outputs(batch), five, atol=1e-5)
    assert not torch.allclose(five[0], five[1], atol=1e-5)
    one = make(draws=5).member_outputs(batch.select(slice(4, 5)))
    torch.testing.assert_close(one[:, 0], five[:, 4], rtol=1e-5, atol=1e-6)
    assert make().member_outputs(batch.select(slice(0, 0))).shape[:2] == (50, 0)
    assert make(draws=5).members(batch).batch_shape == (5, ROWS)


@both
def test_training_is_random_and_evaluation_is_the_whole_network(
    make: Callable[..., Dropout],
) -> None:
    model, batch = make(), jets()
    whole = model.model.outputs(batch)
    assert torch.equal(model.outputs(batch), whole)
    assert torch.equal(model(batch).mean, model.head(whole).mean)
    model.train()
    assert not torch.equal(model.outputs(batch), model.outputs(batch))
    assert not torch.equal(model(batch).mean, model(batch).mean)
    assert torch.equal(model.eval().outputs(batch), whole)


def test_the_features_are_dropped_only_if_asked() -> None:
    batch = Batch(torch.ones(500, 3))
    for inputs, kinds in ((False, 1), (True, 8)):  # masks of three features
        model = mlp(rate=0.5, inputs=inputs).train()
        seen: list[Tensor] = []
        assert isinstance(model.model, MLP)
        first = model.model.network[0]
        # after the hooks of the dropout, which are there during the call only
        hook = first.register_forward_hook(lambda _, values, __, seen=seen: seen.append(values[0]))
        model.outputs(batch)
        hook.remove()
        assert len(torch.unique(seen[0], dim=0)) == kinds


def test_the_model_is_copied_and_its_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(1)
    plain = MLP(features=3, hidden=(8,), head=NormalHead())
    model = Dropout(plain, draws=3).train()
    loss = model.loss(model(jets()), torch.zeros(ROWS)).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert all(p.grad is None for p in plain.parameters())
    assert model.regulariser(model(jets()), torch.zeros(ROWS), rows=5).item() == 0


@both
def test_pickle_and_state_give_the_same_members(make: Callable[..., Dropout]) -> None:
    model, batch = make(draws=4, rate=0.2, seed=3), jets()
    expected = model.member_outputs(batch)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again.member_outputs(batch), expected)
    config = json.loads(json.dumps(model.config))
    config.pop("model")
    torch.manual_seed(8)
    other = Dropout(type(model.model)(**plain_keywords(model.model)), **config).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.member_outputs(batch), expected)
    assert set(model.state_dict()) == {f"model.{key}" for key in model.model.state_dict()}


def plain_keywords(model: Model) -> dict[str, Any]:
    return {**model.config, "head": model.head}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rate": 0.0}, "rate is 0"),
        ({"rate": 1.0}, "rate is 1"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mlp(**keywords)


def test_models_without_a_place_for_dropout_are_refused() -> None:
    flat = MLP(features=3, hidden=(), head=NormalHead())
    with pytest.raises(ConfigError, match="no linear layer after the first"):
        Dropout(flat)
    assert Dropout(flat, inputs=True).member_outputs(jets()).shape == (50, ROWS, 2)
    with pytest.raises(ConfigError, match="Bayesian has members of its own"):
        Dropout(Bayesian(flat))
    with pytest.raises(ConfigError, match="Dropout has members of its own"):
        Dropout(mlp())


def test_constituents_share_a_mask_inside_another_model_too() -> None:
    """Without it, equal constituents of a jet would see different networks while training."""
    inner = GaussianAnsatz(PFN(constituents=2, phi=(16, 16), f=(4,), head=NormalHead()))
    model, seen = Dropout(inner, rate=0.5).train(), list[Tensor]()
    layer = model.get_submodule("model.a.phi.2")
    layer.register_forward_hook(lambda _, __, outputs: seen.append(outputs))
    model(Batch(constituents=Ragged(torch.ones(12, 2), torch.tensor([0, 5, 12]))))
    torch.testing.assert_close(seen[0], seen[0][:1].expand_as(seen[0]))
