from __future__ import annotations

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, NormalHead
from hepcalib.models.layers import ACTIVATIONS


def test_is_the_product_of_its_layers() -> None:
    torch.manual_seed(1)
    model = MLP(features=3, hidden=(4,), head=NormalHead(), activation="tanh")
    x = torch.randn(5, 3)
    weight, bias, last_weight, last_bias = model.parameters()
    expected = torch.tanh(x @ weight.T + bias) @ last_weight.T + last_bias
    torch.testing.assert_close(model.outputs(Batch(x)), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_learns_a_curve(activation: str) -> None:
    torch.manual_seed(1)
    model = MLP(features=1, hidden=(32, 32), head=NormalHead(), activation=activation)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, 300)
    x = torch.linspace(-2.0, 2.0, 200).unsqueeze(1)
    y = x.squeeze(1).sin()
    for _ in range(300):
        optimiser.zero_grad()
        (-model(Batch(x)).log_prob(y).mean()).backward()
        optimiser.step()
        scheduler.step()
    slope = (x[:, 0] * y).sum() / x.square().sum()
    line = (slope * x[:, 0] - y).abs().max()  # what the best straight line misses, 0.40
    assert (model(Batch(x)).mean - y).abs().max() < 0.5 * line


def test_an_untrained_model_predicts_about_a_standard_normal_for_large_inputs_too() -> None:
    torch.manual_seed(1)
    prediction = MLP(features=4, head=NormalHead())(Batch(10 * torch.randn(100, 4)))
    assert prediction.mean.abs().max() < 1
    assert (prediction.variance.log().abs() < 1).all()


def test_no_hidden_layer_is_a_linear_model() -> None:
    model = MLP(features=2, hidden=(), head=NormalHead())
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [(2, 2), (2,)]


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown activation 'rely'.*Did you mean 'relu'"):
        MLP(features=2, head=NormalHead(), activation="rely")
    with pytest.raises(ConfigError, match=r"layer widths are \[2, 0\]"):
        MLP(features=2, hidden=(0,), head=NormalHead())
    with pytest.raises(ConfigError, match=r"layer widths are \[0, 64, 64\]"):
        MLP(features=0, head=NormalHead())
