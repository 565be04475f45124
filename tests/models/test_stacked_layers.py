from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from hepcalib.models import stacked_layers
from hepcalib.models.layers import ACTIVATIONS
from hepcalib.models.stacked_layers import StackedLayers

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORKS = 5


def chain(*widths: int, activation: str = "silu", last: bool = False) -> nn.Sequential:
    """Linear layers of these widths with activations between them, and after them if asked for."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def stacked(network: nn.Module) -> dict[str, Tensor]:
    return {
        f"part.{name}": torch.randn(NETWORKS, *value.shape)
        for name, value in network.named_parameters()
    }


def loop(network: nn.Module, parameters: Mapping[str, Tensor], values: Tensor) -> Tensor:
    results = []
    for number in range(NETWORKS):
        own = {name.removeprefix("part."): value[number] for name, value in parameters.items()}
        inputs = values if values.dim() == 2 else values[number]
        results.append(torch.func.functional_call(network, own, (inputs,)))
    return torch.stack(results)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("widths", [(3, 2), (3, 20, 4, 20), (3, 4, 9)])
@torch.no_grad()
def test_equal_to_a_loop(widths: tuple[int, ...], activation: str, last: bool) -> None:
    torch.manual_seed(1)
    network = chain(*widths, activation=activation, last=last)
    parameters, values = stacked(network), torch.randn(7, 3)
    before = values.clone()
    for inputs in (values, torch.randn(NETWORKS, 7, 3)):
        found = StackedLayers(network, parameters, prefix="part")(inputs)
        expected = loop(network, parameters, inputs)
        assert found.shape == (NETWORKS, 7, widths[-1])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(values, before)


@pytest.mark.parametrize("limits", [(1, 1), (3, 20), (3, 3 * 20 * 2), (4, 10**6), (7, 7 * 20 * 4)])
@torch.no_grad()
def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    torch.manual_seed(1)
    network, values = chain(3, 20, 20, 2), torch.randn(7, 3)
    parameters = stacked(network)
    expected = loop(network, parameters, values)
    monkeypatch.setattr(stacked_layers, "CPU_BLOCK", limits)
    found = StackedLayers(network, parameters, prefix="part")(values)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert StackedLayers(network, parameters, prefix="part")(values[:0]).shape == (NETWORKS, 0, 2)


@torch.no_grad()
def test_common_parameters_and_layers_without_bias() -> None:
    torch.manual_seed(1)
    network, values = chain(3, 20, 2), torch.randn(7, 3)
    network[0] = nn.Linear(3, 20, bias=False)
    parameters = {"part.0.weight": torch.randn(NETWORKS, 20, 3)}
    found = StackedLayers(network, parameters, prefix="part")(values)
    torch.testing.assert_close(found, loop(network, parameters, values), rtol=1e-5, atol=1e-5)
    assert found.std(0).min() > 0
