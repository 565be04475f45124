from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import MLP, PFN, Bayesian, BernoulliHead, MixtureHead, NormalHead
from hepcalib.models.layers import ACTIVATIONS
from hepcalib.models.mean_field import MeanFieldLinear
from hepcalib.models.moments import activation_moments

DRAWS = 2000


def network(*, hidden: tuple[int, ...], width: float = 0.03, **keywords: Any) -> Bayesian:
    """A network of random means, the posterior widths of which are near the one given."""
    torch.manual_seed(1)
    plain = MLP(features=5, hidden=hidden, **{"head": MixtureHead(), **keywords})
    model = Bayesian(plain, draws=DRAWS, initial_log_variance=2 * math.log(width))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, MeanFieldLinear):
                layer.weight.normal_(std=1.3 * layer.weight.shape[1] ** -0.5)
                layer.log_variance.add_(torch.randn_like(layer.log_variance))
    return model.eval()


def rows(number: int = 40) -> Batch:
    return Batch(torch.randn(number, 5, generator=torch.Generator().manual_seed(2)))


def deviations(found: Tensor, variance: Tensor, draws: Tensor) -> tuple[float, float]:
    """Largest difference of means and of standard deviations, in standard errors."""
    error = draws.std(0) / math.sqrt(len(draws))
    mean = (found - draws.mean(0)).abs() / error
    spread = (variance.sqrt() - draws.std(0)).abs() / (error / math.sqrt(2))
    return mean.max().item(), spread.max().item()


def test_one_linear_layer_is_exact() -> None:
    model, batch = network(hidden=(), width=0.5).double(), rows()
    x = batch.features
    assert x is not None
    (layer,) = model._layers()
    found = model.moments(batch)
    variance = x.double().square() @ layer.log_variance.exp().T
    torch.testing.assert_close(found.mean, model.outputs(batch), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.variance, variance, rtol=1e-10, atol=0)


def test_one_hidden_layer_is_exact_where_the_moments_of_its_units_are() -> None:
    model, batch = network(hidden=(32,), width=0.3, activation="relu"), rows()
    with torch.no_grad():
        found, draws = model.moments(batch), model.member_outputs(batch)
    mean, spread = deviations(*found, draws)
    # the largest of 360 numbers of unit width; kurtosis makes the spread's error a little larger
    assert mean < 5
    assert spread < 7
    biased = deviations(found.mean, 1.2 * found.variance, draws)
    assert biased[1] > 7


@pytest.mark.parametrize("activation", ["silu", "tanh", "gelu", "elu"])
def test_deep_networks_are_as_accurate_as_stated(activation: str) -> None:
    model, batch = network(hidden=(32, 32, 32), activation=activation), rows()
    with torch.no_grad():
        found, draws = model.moments(batch), model.member_outputs(batch)
    ratio = found.variance.sqrt() / draws.std(0)
    # neglected correlations of units: some tens of percent, but no factor; means stay right
    assert 0.8 < ratio.median().item() < 1.1
    assert 0.5 < ratio.quantile(0.05).item() < ratio.quantile(0.95).item() < 1.3
    assert ((found.mean - draws.mean(0)).abs() / draws.std(0)).median() < 0.1


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_moments_of_activations_are_those_of_normal_numbers(activation: str) -> None:
    made = ACTIVATIONS[activation]()
    mean = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)
    z = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z.square())
    density /= density.sum()
    # Two nodes: wrong by the square of the width, times the largest second derivative over sqrt 2.
    curvature = {"relu": 0.0, "silu": 0.5, "tanh": 0.77, "gelu": 0.8, "elu": 1.0}
    for width in (0.01, 0.1, 0.3):
        values = made(mean.unsqueeze(1) + width * z)
        expected = values @ density
        spread = ((values - expected.unsqueeze(1)).square() @ density).sqrt()
        variance = torch.full_like(mean, width**2)
        found, squared = activation_moments(made, mean.clone(), variance)
        limit = width**2 * curvature.get(activation, 3 * 0.77) / math.sqrt(2) + 1e-7
        torch.testing.assert_close(found, expected, rtol=0, atol=limit)
        torch.testing.assert_close(squared.sqrt(), spread, rtol=0, atol=limit)
        assert (squared.sqrt() - 1.5 * spread).abs().max() > limit


def test_small_variances_keep_their_digits_in_single_precision() -> None:
    mean = torch.linspace(0.5, 3.0, 11)
    for activation in (nn.SiLU(), nn.ReLU(), nn.Tanh()):
        variance = torch.full_like(mean, 1e-8)
        z = mean.clone().requires_grad_()
        (slope,) = torch.autograd.grad(activation(z).sum(), z)
        _, squared = activation_moments(activation, mean.clone(), variance)
        # values of order one have 1e-7; their difference over 1e-4 has 1e-3
        torch.testing.assert_close(squared.sqrt(), 1e-4 * slope, rtol=0, atol=3e-7)


def test_a_relu_far_from_its_kink_and_without_spread() -> None:
    mean = torch.tensor([-50.0, 50.0, -1.0, 0.0, 2.0])
    variance = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    found, squared = activation_moments(nn.ReLU(), mean, variance)
    torch.testing.assert_close(found, torch.tensor([0.0, 50.0, 0.0, 0.0, 2.0]))
    torch.testing.assert_close(squared, torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("head", [NormalHead(0.5, 2.0), MixtureHead(3, -1.0, 0.3), BernoulliHead()])
def test_uncertainty_of_the_mean_is_the_spread_of_draws(head: Any) -> None:
    model, batch = network(hidden=(32, 32, 32), head=head, activation="silu"), rows()
    with torch.no_grad():
        draws = model.members(batch).mean.std(0)
        found = model.mean_uncertainty(batch)
        ratio = found / draws
    # 2000 draws: 1.6 %; higher orders of widths of 0.03: a few percent
    assert abs(ratio.median().item() - 1.0) < 0.05
    assert (ratio - 1.0).abs().max() < 0.25
    wider = network(hidden=(32, 32, 32), head=head, width=0.04)
    assert (wider.mean_uncertainty(batch) / draws).median() > 1.2


def test_uncertainty_of_the_mean_is_exact_for_a_linear_model() -> None:
    model, batch = network(hidden=(), width=0.5, head=NormalHead(0.5, 2.0)), rows()
    expected = 2.0 * model.moments(batch).variance[:, 0].sqrt()
    torch.testing.assert_close(model.mean_uncertainty(batch), expected)
    with torch.inference_mode():
        inner = rows()
        torch.testing.assert_close(model.mean_uncertainty(inner), expected)


def test_blocks_and_neighbours_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(hidden=(16, 16)), rows()
    whole, alone = model.moments(batch), model.moments(batch.select(slice(7, 8)))
    uncertainty = model.mean_uncertainty(batch)
    monkeypatch.setattr("hepcalib.models.moments.CPU_BLOCK", 7 * 16)
    for blocks, together, single in zip(model.moments(batch), whole, alone, strict=True):
        torch.testing.assert_close(blocks, together)
        torch.testing.assert_close(together[7:8], single)
    torch.testing.assert_close(model.mean_uncertainty(batch.select(slice(7, 8))), uncertainty[7:8])
    none = batch.select(slice(0, 0))
    assert model.moments(none).mean.shape == model.moments(none).variance.shape == (0, 9)
    assert model.mean_uncertainty(none).shape == (0,)


def test_the_model_is_left_as_it_is() -> None:
    model, batch = network(hidden=(8,)), rows()
    before = [parameter.clone() for parameter in model.parameters()]
    assert batch.features is not None
    features = batch.features.clone()
    model.moments(batch)
    model.mean_uncertainty(batch)
    assert all(map(torch.equal, model.parameters(), before))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(batch.features, features)
    assert not batch.features.requires_grad


def test_models_that_are_no_chain_and_inputs_that_do_not_fit_are_refused() -> None:
    jets = Bayesian(PFN(constituents=3, phi=(4,), f=(4,), head=NormalHead()))
    odd = MLP(features=5, head=NormalHead())
    odd.network.append(nn.Dropout(0.5))
    for method in ("moments", "mean_uncertainty"):
        with pytest.raises(ConfigError, match="PFN is no chain"):
            getattr(jets, method)(rows())
        with pytest.raises(ConfigError, match="is a Dropout"):
            getattr(Bayesian(odd), method)(rows())
        with pytest.raises(ShapeError, match="needed"):
            getattr(network(hidden=(4,)), method)(Batch(torch.zeros(2, 4)))


def test_layers_without_bias() -> None:
    plain = MLP(features=5, hidden=(), head=NormalHead())
    plain.network[-1] = nn.Linear(5, 2, bias=False)
    model, batch = Bayesian(plain), rows()
    assert batch.features is not None
    (layer,) = model._layers()
    expected = functional.linear(batch.features, layer.weight)
    torch.testing.assert_close(model.moments(batch).mean, expected)
    assert model.mean_uncertainty(batch).shape == (40,)
