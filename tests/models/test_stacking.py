from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.models import MLP, PFN, BernoulliHead, MixtureHead, Model, NormalHead, stacking
from hepcalib.models import pfn as pfn_module
from hepcalib.models.stacking import stacked_outputs
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORKS = 4


def mlp(**keywords: Any) -> MLP:
    return MLP(features=2, hidden=(8, 8), head=MixtureHead(2), **keywords)


class Dropped(MLP):
    """A network with a random layer."""

    def __init__(self) -> None:
        super().__init__(features=2, hidden=(8,), head=NormalHead())
        self.network.append(nn.Dropout(0.5))


class OtherPFN(PFN):
    """The same network in a class of its own, which might compute anything."""


class Reductions(Model):
    """Every reduction of the rows of a batch, of one number per constituent."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.head = NormalHead()

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.constituents is not None
        rows = batch.constituents.map(self.linear)
        weights = rows.softmax()
        mean = Ragged(weights.values * rows.repeat(rows.mean()), rows.offsets)
        return torch.cat([rows.sum(), rows.mean(), rows.max(), rows.min(), mean.sum()], dim=1)


ARCHITECTURES: dict[str, Callable[[], Model]] = {
    "MLP": mlp,
    "MLP tanh": lambda: mlp(activation="tanh"),
    "MLP without hidden layers": lambda: MLP(features=2, hidden=(), head=NormalHead()),
    "PFN": lambda: PFN(constituents=3, features=2, phi=(8,), f=(8,), head=BernoulliHead()),
    "PFN without features": lambda: PFN(constituents=3, phi=(8, 8), f=(), head=NormalHead()),
    "PFN of another class": lambda: OtherPFN(constituents=3, phi=(8,), f=(8,), head=NormalHead()),
    "reductions": Reductions,
}
every = pytest.mark.parametrize("make", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def jets(rows: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(rows) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Batch(torch.randn(rows, 2, generator=generator), Ragged(values, offsets))


def networks(make: Callable[[], Model]) -> list[Model]:
    torch.manual_seed(1)
    models = [make() for _ in range(NETWORKS)]
    with torch.no_grad():
        for model in models:
            for parameter in model.parameters():
                parameter.normal_(std=0.5)
    return models


def stacked(models: list[Model]) -> dict[str, Tensor]:
    states = [dict(model.named_parameters()) for model in models]
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def loop(models: list[Model], batch: Batch) -> Tensor:
    return torch.stack([model.outputs(batch) for model in models])


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal to the rounding of sums of a few numbers of the order of one."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("training", [True, False])
def test_equal_to_a_loop_over_networks(
    make: Callable[[], Model], mode: Callable[[], Any], training: bool
) -> None:
    models = networks(make)
    for model in models:
        model.train(training)
    with mode():
        batch = jets()
        found, expected = stacked_outputs(models[0], stacked(models), batch), loop(models, batch)
    assert found.shape == expected.shape == (NETWORKS, 9, found.shape[-1])
    assert expected[:, 3].std(0).min() > 1e-3  # the networks differ
    assert_close(found, expected)
    assert_close(models[1].outputs(jets()), expected[1])  # the batch and the models are as before


@every
@pytest.mark.parametrize("together", [NETWORKS, 3, 1])
def test_gradients_are_those_of_a_loop(
    make: Callable[[], Model], monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(stacking, "at_a_time", lambda *_: together)
    models = networks(make)
    parameters = {name: value.requires_grad_() for name, value in stacked(models).items()}
    weight = torch.linspace(0.5, 2.0, NETWORKS).view(-1, 1, 1)  # each network has its own gradient
    (weight * stacked_outputs(models[0], parameters, jets()).square()).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    (weight * loop(models, jets()).square()).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        each = [dict(model.named_parameters())[name].grad for model in models]
        expected = torch.stack([grad for grad in each if grad is not None])
        scale = float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-5 * scale)


@every
def test_no_rows_and_one_network(make: Callable[[], Model]) -> None:
    models = networks(make)
    parameters = stacked(models)
    none = jets().select(slice(0, 0))
    width = models[0].outputs(jets()).shape[-1]
    assert stacked_outputs(models[0], parameters, none).shape == (NETWORKS, 0, width)
    first = {name: value[:1] for name, value in parameters.items()}
    assert_close(stacked_outputs(models[1], first, jets())[0], models[0].outputs(jets()))


@every
def test_the_dtype_of_the_parameters_is_that_of_the_outputs(make: Callable[[], Model]) -> None:
    models = [model.double() for model in networks(make)]
    batch = jets().to(dtype=torch.float64) if make is Reductions else jets()
    found = stacked_outputs(models[0], stacked(models), batch)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, loop(models, batch), rtol=1e-12, atol=1e-12)


@every
def test_the_model_is_left_as_it_is(make: Callable[[], Model]) -> None:
    models = networks(make)
    before = copy.deepcopy(models[0].state_dict())
    stacked_outputs(models[0], stacked(models[1:]), jets())
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad_fn is None for parameter in models[0].parameters())


@pytest.mark.parametrize("common", ["weight", "bias", "network.0"])
def test_parameters_that_are_not_stacked_are_common(common: str) -> None:
    models = networks(mlp)
    parameters = {name: value for name, value in stacked(models).items() if common not in name}
    assert 0 < len(parameters) < len(stacked(models))
    for model in models[1:]:
        own = model.state_dict()
        shared = {name: value for name, value in models[0].state_dict().items() if common in name}
        model.load_state_dict({**own, **shared})
    assert_close(stacked_outputs(models[0], parameters, jets()), loop(models, jets()))


@pytest.mark.parametrize("part", ["phi", "f"])
@pytest.mark.parametrize("together", [NETWORKS, 3, 1])
def test_one_part_of_a_model_may_be_stacked(
    monkeypatch: pytest.MonkeyPatch, part: str, together: int
) -> None:
    monkeypatch.setattr(stacking, "at_a_time", lambda *_: together)
    models = networks(ARCHITECTURES["PFN"])
    parameters = {
        name: value for name, value in stacked(models).items() if name.startswith(f"{part}.")
    }
    for model in models[1:]:
        own = {name: value for name, value in model.state_dict().items() if name in parameters}
        model.load_state_dict({**models[0].state_dict(), **own})
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            found = stacked_outputs(models[0], parameters, jets())
        assert_close(found, loop(models, jets()))


def test_layers_without_bias() -> None:
    def make() -> MLP:
        model = mlp()
        model.network[0] = nn.Linear(2, 8, bias=False)
        return model

    models = networks(make)
    assert_close(stacked_outputs(models[0], stacked(models), jets()), loop(models, jets()))


def test_blocks_of_constituents_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    models = networks(ARCHITECTURES["PFN"])
    expected = stacked_outputs(models[0], stacked(models), jets())
    for block in (1, 5):
        monkeypatch.setattr(pfn_module, "BLOCK", block)
        assert_close(stacked_outputs(models[0], stacked(models), jets()), expected)


def test_random_layers_draw_other_numbers_for_each_network() -> None:
    model = networks(Dropped)[0]
    same = {
        name: value[:1].expand(NETWORKS, *value.shape[1:])
        for name, value in stacked([model]).items()
    }
    torch.manual_seed(3)
    random = stacked_outputs(model.train(), same, jets(100))
    kept = (random != 0).double().mean((1, 2))  # 200 numbers, kept with probability 0.5 each
    assert (kept - 0.5).abs().max() < 5 * 0.5 / 200**0.5
    assert not torch.equal(random[0] != 0, random[1] != 0)
    fixed = stacked_outputs(model.eval(), same, jets(100))
    assert_close(fixed, model.outputs(jets(100)).expand_as(fixed))


@pytest.mark.parametrize("make", [mlp, ARCHITECTURES["PFN"]])
def test_parameters_that_do_not_fit_together_are_refused(make: Callable[[], Model]) -> None:
    models = networks(make)
    parameters = stacked(models)
    name = next(iter(parameters))
    other = {**parameters, name: parameters[name][:2]}
    none = {key: value[:0] for key, value in parameters.items()}
    for wrong in (other, none, {}, {**parameters, name: torch.tensor(1.0)}):
        with pytest.raises(ShapeError, match="needed: all the same, at least 1"):
            stacked_outputs(models[0], wrong, jets())
    with pytest.raises(ShapeError, match=r"needed: \(\.\.\., [23]\)"):
        stacked_outputs(models[0], parameters, Batch(torch.zeros(3, 5)))


def test_unknown_parameters_are_refused() -> None:
    models = networks(mlp)
    with pytest.raises((AttributeError, KeyError), match="netwrok"):
        stacked_outputs(models[0], {"netwrok.0.weight": torch.zeros(2, 3)}, jets())
