from __future__ import annotations

import pytest
import torch

from hepcalib.models.layers import ACTIVATIONS, DoubleSiLU, ShiftedTanh, dense


def test_activations_are_those_of_the_published_networks() -> None:
    x = torch.linspace(-4.0, 4.0, 9, dtype=torch.float64)
    torch.testing.assert_close(DoubleSiLU()(x), 2 * x / (1 + torch.exp(-x)))
    torch.testing.assert_close(ShiftedTanh()(x), 3 * torch.tanh(x) + 3)
    assert {DoubleSiLU, ShiftedTanh} <= {*ACTIVATIONS.values()}


@pytest.mark.parametrize("activation", ["double_silu", "shifted_tanh"])
@torch.no_grad()
def test_pre_activations_start_around_zero_with_variance_one(activation: str) -> None:
    # the variance of a layer scatters by about sqrt(2 / 256) = 0.09 around that of the last one,
    # to which the first, with 64 inputs, adds 1 / (3 * 64) and the others 1 / (3 * 256) as biases
    torch.manual_seed(1)
    values = torch.randn(2000, 64)
    uncentred = []
    for layer in dense([64, 256, 256, 256], activation=activation, where="test"):
        if isinstance(layer, torch.nn.Linear):
            uncentred.append((values @ layer.weight.T).mean(0).square().mean())
            values = layer(values)
            assert values.mean(0).square().mean() < 0.15
            assert values.var(0).mean() == pytest.approx(1.0, abs=0.3)
        else:
            values = layer(values)
    # negative control: the mean of 3 (tanh + 1) would be spread over the next layer
    assert (max(uncentred) > 1.0) == (activation == "shifted_tanh")
