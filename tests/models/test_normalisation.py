from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.heads import NormalHead
from hepcalib.models.mlp import MLP
from hepcalib.models.normalisation import BatchNorm, normalised
from hepcalib.models.stacking import stacked_outputs

if TYPE_CHECKING:
    from hepcalib.models.model import Model

FEATURES = 3


def items(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 10.0, 0.1])
    return 5.0 + scale * torch.randn(count, FEATURES, generator=generator)


def pair(momentum: float = 0.1) -> tuple[BatchNorm, nn.BatchNorm1d]:
    """Ours and that of torch, of the same numbers."""
    ours = BatchNorm(FEATURES, momentum=momentum, epsilon=1e-3)
    theirs = nn.BatchNorm1d(FEATURES, momentum=momentum, eps=1e-3)
    with torch.no_grad():
        for module in (ours, theirs):
            module.weight.copy_(torch.tensor([0.5, -2.0, 1.0]))
            module.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    return ours, theirs


class Normalised(MLP):
    """A network with a normalisation."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__(features=FEATURES, hidden=(hidden,), head=NormalHead())
        self.norm = BatchNorm(FEATURES)

    @property
    def config(self) -> dict[str, Any]:
        return {"hidden": self.hidden[0]}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.features is not None
        raw: Tensor = self.network(self.norm(batch.features))
        return raw


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_is_that_of_torch(momentum: float) -> None:
    ours, theirs = (module.double() for module in pair(momentum))
    for step in range(4):
        x = items(2 + 50 * step, seed=step).double()
        copies = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        found, expected = ours(copies[0]), theirs(copies[1])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        weight = torch.linspace(-1.0, 2.0, found.numel(), dtype=x.dtype).view_as(found)
        for outputs in (found, expected):
            (weight * outputs).sum().backward()
        torch.testing.assert_close(copies[0].grad, copies[1].grad, rtol=1e-8, atol=1e-10)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-10, atol=0)
    torch.testing.assert_close(ours.running_variance, theirs.running_var, rtol=1e-10, atol=0)
    x = items(5).double()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-10)


def test_gradient_is_the_numerical_one() -> None:
    ours, _ = pair()
    x = items(6).double().requires_grad_()
    assert torch.autograd.gradcheck(ours.double(), (x,))
    assert torch.autograd.gradcheck(ours.eval(), (x,))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_items_use_the_running_values_and_leave_them(count: int) -> None:
    ours, _ = pair()
    ours(items(100))
    state = copy.deepcopy(ours.state_dict())
    x = items(count)
    found = ours(x)
    assert found.shape == (count, FEATURES)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    torch.testing.assert_close(found, ours.eval()(x))
    assert found.isfinite().all()


def test_items_of_a_large_mean_keep_their_variance() -> None:
    ours = BatchNorm(1)
    x = 1000.0 + torch.linspace(-1.0, 1.0, 1001).unsqueeze(1)
    # Float32 keeps 6e-5 of a number of 1000, a relative 1e-4 of the deviation.
    torch.testing.assert_close(ours(x).std(), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_many_networks_normalise_each_for_itself() -> None:
    networks = [pair()[0] for _ in range(3)]
    inputs = torch.stack([items(20, seed) for seed in range(3)])
    state = [module.state_dict() for module in networks]
    stacked = {name: torch.stack([one[name] for one in state]) for name in state[0]}
    module = copy.deepcopy(networks[0])

    def one(values: dict[str, Tensor], x: Tensor) -> Tensor:
        normal: Tensor = functional_call(module, values, (x,))
        return normal

    for training in (True, False):
        module.train(training)
        found = vmap(one)(stacked, inputs)
        for number, network in enumerate(networks):
            torch.testing.assert_close(found[number], network.train(training)(inputs[number]))
            for name, value in network.state_dict().items():
                torch.testing.assert_close(stacked[name][number], value)


def test_many_networks_may_share_the_running_values_in_evaluation() -> None:
    module = pair()[0].eval()
    weight = torch.stack([module.weight.detach(), 2.0 * module.weight.detach()])
    x = items(4)
    found = vmap(lambda one: functional_call(module, {"weight": one}, (x,)))(weight)
    torch.testing.assert_close(found[0], module(x))
    torch.testing.assert_close(found[1] - module.bias, 2.0 * (module(x) - module.bias))


def test_stacked_networks_leave_a_model_as_it_is_in_training() -> None:
    model, batch = Normalised(), Batch(items(30))
    before = copy.deepcopy(model.state_dict())
    parameters = {name: torch.stack([value] * 2) for name, value in model.named_parameters()}
    found = stacked_outputs(model, parameters, batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(found[1], model.outputs(batch))
    assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])


def test_members_of_an_ensemble_are_as_trained_alone() -> None:
    ensemble = DeepEnsemble(Normalised(), members=2, seed=4)
    lone = [Normalised(), Normalised()]
    for number, alone in enumerate(lone):
        state = {name: value[number] for name, value in ensemble.stacked().items()}
        alone.load_state_dict(state, strict=False)
    batches = [Batch(items(40, seed)) for seed in range(5)]
    target = torch.linspace(-1.0, 1.0, 40)
    networks: list[Model] = [ensemble, *lone]
    for model in networks:
        descent = torch.optim.SGD(model.parameters(), lr=0.1)
        for batch in batches:
            descent.zero_grad()
            model.loss(model(batch), target).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            descent.step()
        model.eval()
    found = ensemble.member_outputs(batches[0])
    for number, alone in enumerate(lone):
        torch.testing.assert_close(found[number], alone.outputs(batches[0]), rtol=1e-4, atol=1e-5)
        buffers = {name: value[number] for name, value in ensemble.stacked_buffers().items()}
        torch.testing.assert_close(buffers, dict(alone.named_buffers()), rtol=1e-5, atol=1e-6)
    again = DeepEnsemble(Normalised(), members=2, seed=5).eval()
    again.load_state_dict(ensemble.state_dict())
    assert torch.equal(again.member_outputs(batches[0]), found)
    torch.testing.assert_close(again.outputs(batches[0]), found[0])
    assert len(copy.deepcopy(ensemble).state_dict()) == 4 + 2 + 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_and_its_normalisation_as_one(bias: bool, training: bool) -> None:
    torch.manual_seed(1)
    linear, norm = nn.Linear(FEATURES, FEATURES, bias=bias), pair()[0]
    norm(items(100))
    other = copy.deepcopy(norm)
    norm.train(training)
    other.train(training)
    found, expected = normalised(linear, norm, items(9)), other(linear(items(9)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    gradients = torch.autograd.grad(found.square().sum(), [*linear.parameters(), norm.weight])
    second = torch.autograd.grad(expected.square().sum(), [*linear.parameters(), other.weight])
    torch.testing.assert_close(gradients, second, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"features": 0}, "features is 0"),
        ({"momentum": 0.0}, "momentum 0.0"),
        ({"momentum": 1.5}, "momentum 1.5"),
        ({"epsilon": 0.0}, "epsilon 0.0"),
    ],
)
def test_impossible_configurations_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchNorm(**{"features": 2, **keywords})
