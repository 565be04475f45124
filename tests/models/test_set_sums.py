"""Sums over sets, in blocks and in memory that is used again."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from hepcalib.models import set_sums as room
from hepcalib.models.layers import ACTIVATIONS, dense
from hepcalib.models.set_sums import set_sums

if TYPE_CHECKING:
    from torch import Tensor


def sets(*, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    counts = torch.randint(0, 40, (60,), generator=random)
    counts[[0, 17, 18, 59]] = torch.tensor([0, 300, 0, 0])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return torch.randn(int(offsets[-1]), 3, generator=random, dtype=dtype), offsets


def slowly(network: nn.Module, values: Tensor, offsets: Tensor) -> Tensor:
    edges = offsets.tolist()
    rows = [values[a:b] for a, b in pairwise(edges)]
    return torch.stack([network(row).sum(0) for row in rows])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("block", [1, 50, 10_000])
def test_agrees_with_a_loop_over_rows(
    activation: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CPU_BLOCK", block)
    network = dense([3, 16, 8, 16], activation=activation, where="test").double()
    values, offsets = sets(dtype=torch.float64)
    with torch.no_grad():
        expected = slowly(network, values, offsets)
        for same in (values, values.t().contiguous().t()):
            torch.testing.assert_close(set_sums(network, same, offsets), expected)
        assert (expected[[0, 18, 59]] == 0).all()


def test_memory_that_is_used_again_shows_nowhere() -> None:
    network = dense([3, 16, 8], activation="relu", where="test")
    values, offsets = sets()
    before = values.clone()
    with torch.inference_mode():
        first = set_sums(network, values, offsets)
        kept = first.clone()
        set_sums(network, values + 1, offsets)
    assert torch.equal(first, kept)
    assert torch.equal(values, before)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)),
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU()),
        nn.Sequential(nn.Identity()),
        nn.Sequential(nn.ReLU(), nn.Linear(3, 2)),
    ],
)
def test_other_layers_are_called(network: nn.Sequential) -> None:
    values, offsets = sets()
    before = values.clone()
    with torch.no_grad():
        found, expected = set_sums(network, values, offsets), slowly(network, values, offsets)
    # sums of at most 300 single numbers of order 1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(values, before)


def test_parameters_may_be_stacked() -> None:
    network = dense([3, 8, 8], activation="relu", where="test")
    values, offsets = sets()
    stacked = {name: torch.stack([p, 2 * p]) for name, p in network.named_parameters()}

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self) -> Tensor:
            return set_sums(self.network, values, offsets)

    prefixed = {f"network.{name}": value for name, value in stacked.items()}
    with torch.no_grad():
        found = vmap(lambda parameters: functional_call(Sums(), parameters, ()))(prefixed)
        one, two = (
            functional_call(Sums(), {name: value[i] for name, value in prefixed.items()}, ())
            for i in range(2)
        )
    torch.testing.assert_close(found[0], one, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found[1], two, rtol=1e-5, atol=1e-4)
    assert not torch.allclose(found[0], found[1])


def test_half_precision_is_summed_in_single() -> None:
    linear = nn.Linear(1, 1)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.zero_()
    network = nn.Sequential(linear, nn.ReLU())
    values, offsets = torch.ones(1000, 1), torch.tensor([0, 1000])
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = set_sums(network, values, offsets)
    assert found.dtype == torch.float32
    assert found.item() == 1000


@pytest.mark.parametrize("activation", ["relu", "elu"])  # evaluated in place, and called
def test_weights_are_factors_of_the_items(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CPU_BLOCK", 50)
    network = dense([3, 16, 8], activation=activation, where="test").double()
    values, offsets = sets(dtype=torch.float64)
    weights = torch.rand(len(values), 1, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        latent = torch.cat([network(values) * weights, weights], dim=1)
        expected = slowly(nn.Identity(), latent, offsets)[:, :-1]
        found = set_sums(network, values, offsets, weights=weights)
    torch.testing.assert_close(found, expected)
