from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import Bayesian, DeepEnsemble, Dropout, Model, NormalHead, PointHead
from hepcalib.models import gn2 as room
from hepcalib.models.gn2 import GN2
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    LargestOf = Callable[[Callable[[], Tensor]], tuple[Tensor, int]]

COUNTS = (4, 0, 1, 7, 0, 2)
HEADS = 2


def small(**keywords: Any) -> GN2:
    """A network in double precision, all of whose parameters matter."""
    torch.manual_seed(1)
    defaults: dict[str, Any] = {
        "constituents": 3, "features": 2, "embed": (6, 8), "heads": HEADS, "blocks": 2,
        "pooled": 6, "f": (6,), "head": NormalHead(),
    }  # fmt: skip
    model = GN2(**{**defaults, **keywords}).double()
    with torch.no_grad():
        for name, value in model.named_parameters():
            spread = 0.4 * torch.randn_like(value)
            value.copy_(1 + spread if value.dim() == 1 and name.endswith("weight") else spread)
    return model.eval()


def jets(counts: Sequence[int] = COUNTS, *, seed: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    values = torch.randn(int(offsets[-1]), 3, generator=generator).double()
    features = torch.randn(len(counts), 2, generator=generator).double()
    return Batch(features, Ragged(values, offsets))


class _Naive:
    """One jet after the other, from the weights."""

    def __init__(self, model: GN2) -> None:
        self.state: dict[str, Tensor] = dict(model.state_dict())
        self.blocks = int(model.sizes["blocks"])

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def attention(self, name: str, x: Tensor) -> Tensor:
        parts = []
        q, k, v = self.linear(f"{name}.project", x).chunk(3, dim=1)
        for head in range(HEADS):
            a, b, c = (part.chunk(HEADS, 1)[head] for part in (q, k, v))
            exponential = (a @ b.T / a.shape[1] ** 0.5).exp()
            parts.append(exponential / exponential.sum(1, keepdim=True) @ c)
        return self.linear(f"{name}.out", torch.cat(parts, dim=1))

    def outputs(self, values: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The raw outputs, and the weights of the constituents in the pooling."""
        x = torch.cat([values, features.expand(len(values), -1)], dim=1)
        x = self.linear("embed.2", self.linear("embed.0", x).relu()).relu()
        for number in range(self.blocks):
            name = f"body.{number}"
            x = x + self.attention(f"{name}.attention", self.layer_norm(f"{name}.norm", x))
            y = self.linear(f"{name}.dense.1", self.layer_norm(f"{name}.dense.0", x)).relu()
            x = x + self.linear(f"{name}.dense.4", y)
        x = self.linear("project.1", self.layer_norm("project.0", x))
        weights = self.linear("gate", x).exp()
        weights = weights / weights.sum()
        pooled = (weights * x).sum(0)
        return self.linear("f.2", self.linear("f.0", pooled).relu()), weights.squeeze(1)


def naive(model: GN2, batch: Batch) -> tuple[Tensor, Tensor]:
    assert batch.constituents is not None
    assert batch.features is not None
    found = [
        _Naive(model).outputs(
            batch.constituents.select(slice(row, row + 1)).packed().values, features
        )
        for row, features in enumerate(batch.features)
    ]
    outputs, weights = zip(*found, strict=True)
    return torch.stack(outputs), torch.cat(weights)


def test_number_of_parameters() -> None:
    """Layer by layer, for 17 features of a constituent, 2 of the jet and one output."""
    model = GN2(constituents=17, features=2, head=PointHead())
    embed = (19 + 1) * 256 + (256 + 1) * 256
    attention = (256 + 1) * 4 * 256
    dense = (256 + 1) * 512 + (512 + 1) * 256
    body = 4 * (attention + dense + 2 * 512)
    pooling = 512 + (256 + 1) * 128 + 129
    f = 129 * 128 + 129 * 64 + 65 * 32 + 33
    expected = embed + body + pooling + f
    assert sum(parameter.numel() for parameter in model.parameters()) == expected == 2_239_746


@torch.no_grad()
def test_is_the_formula() -> None:
    model, batch = small(), jets()
    outputs, weights = naive(model, batch)
    assert outputs.std(0).min() > 1e-2
    torch.testing.assert_close(model.outputs(batch), outputs, rtol=0, atol=1e-10)
    shares = model.attention(batch)
    torch.testing.assert_close(shares.values, weights, rtol=0, atol=1e-10)
    total = (torch.tensor(COUNTS) > 0).double()
    torch.testing.assert_close(shares.sum(), total, rtol=0, atol=1e-14)


def test_the_way_that_is_differentiated_is_the_formula() -> None:
    model, batch = small(), jets()
    outputs = model.outputs(batch)
    torch.testing.assert_close(outputs, naive(model, batch)[0], rtol=0, atol=1e-10)
    torch.autograd.backward(outputs.sum())
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_order_block_and_neighbours_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small(), jets((4, 0, 1, 9, 3, 8, 4))
    found = model.outputs(batch)
    assert batch.constituents is not None
    ids = batch.constituents.row_ids()
    shuffled = torch.randperm(len(ids), generator=torch.Generator().manual_seed(3))
    shuffled = shuffled[ids[shuffled].argsort(stable=True)]
    values = batch.constituents.values[shuffled]
    permuted = batch._replace(constituents=Ragged(values, batch.constituents.offsets))
    torch.testing.assert_close(model.outputs(permuted), found, rtol=0, atol=1e-13)
    for row in range(7):
        alone = model.outputs(batch.select(slice(row, row + 1)))
        torch.testing.assert_close(alone[0], found[row], rtol=0, atol=1e-13)
    for block in (1, 7, 50, 10**6):
        monkeypatch.setattr(room, "BLOCK", block)
        torch.testing.assert_close(model.outputs(batch), found, rtol=0, atol=1e-13)


@torch.no_grad()
def test_places_that_pad_a_jet_change_nothing() -> None:
    """A jet beside one of five more constituents; the outputs are of the order of one."""
    model, long, short = small(), jets((17,)), jets((12,), seed=5)
    assert long.constituents is not None
    assert short.constituents is not None
    assert short.features is not None
    together = Ragged.cat([long.constituents, short.constituents])
    both = Batch(short.features.repeat(2, 1), together)
    (bucket,) = together.buckets(10**6)
    assert (~bucket.mask).sum() == 5
    alone = model.outputs(short)[0]
    assert (model.outputs(both)[1] - alone).abs().max() < 1e-15


@torch.no_grad()
def test_constituents_know_their_jet() -> None:
    model, batch = small(), jets()
    assert batch.features is not None
    found = model.outputs(batch)
    other = model.outputs(batch._replace(features=batch.features + 1))
    filled = torch.tensor(COUNTS) > 0
    assert (other - found)[filled].abs().amax(1).min() > 1e-3
    assert torch.equal(other[~filled], found[~filled])


@torch.no_grad()
def test_jets_without_constituents_are_f_of_zero() -> None:
    model = small()
    outputs = model.outputs(jets((0, 3, 0)))
    torch.testing.assert_close(outputs[0], model.f(torch.zeros(6).double()))
    assert torch.equal(outputs[0], outputs[2])
    assert model.outputs(jets(())).shape == (0, 2)
    assert small(features=0).outputs(Batch(constituents=jets().constituents)).shape == (6, 2)


@torch.no_grad()
def test_half_precision_inputs() -> None:
    model, batch = small().float(), jets().to(dtype=torch.float16)
    outputs = model.outputs(batch)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, model.outputs(batch.to(dtype=torch.float32)))
    torch.testing.assert_close(outputs.double(), small().outputs(batch), rtol=0, atol=1e-5)


@torch.no_grad()
def test_no_pair_of_a_large_jet_is_kept(largest_of: LargestOf) -> None:
    model = small().float()
    outputs, largest = largest_of(lambda: model.outputs(jets((2000, 3))))
    assert outputs.isfinite().all()
    assert largest < 2000 * 1000


WRAPPERS: dict[str, Callable[[Model], Model]] = {
    "Bayesian": lambda model: Bayesian(model, draws=3),
    "DeepEnsemble": lambda model: DeepEnsemble(model, members=3),
    "Dropout": lambda model: Dropout(model, draws=3),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_trains_and_predicts_in_wrappers(wrap: Callable[[Model], Model]) -> None:
    model, batch = wrap(small(dropout=0.1)).train(), jets()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    target = torch.linspace(-1, 1, len(COUNTS)).double()
    losses = []
    for _ in range(3):
        predicted = model(batch)
        loss = model.loss(predicted, target).mean() + model.regulariser(predicted, target, rows=99)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        optimiser.step()
        losses.append(loss.item())
    assert all(math.isfinite(loss) for loss in losses)
    members = model.eval().member_outputs(batch)
    with torch.no_grad():
        fused = model.member_outputs(batch)
    assert members.shape == (3, len(COUNTS), 2)
    assert members.std(0).max() > 1e-4
    torch.testing.assert_close(fused, members, rtol=0, atol=1e-12)


def test_bad_inputs_are_refused() -> None:
    model = small()
    with pytest.raises(ShapeError, match="GN2: constituents of the batch: none"):
        model.outputs(Batch(torch.zeros(1, 2)))
    with pytest.raises(ShapeError, match="GN2: features of the batch: none"):
        model.outputs(Batch(constituents=jets().constituents))
    with pytest.raises(ConfigError, match="constituents is 0"):
        small(constituents=0)
    with pytest.raises(ConfigError, match="'pooled': 0"):
        small(pooled=0)
    with pytest.raises(ConfigError, match="width 8 and 3 heads"):
        small(heads=3)
