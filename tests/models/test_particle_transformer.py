from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributions import Categorical

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import Bayesian, DeepEnsemble, Dropout, Head, Model, NormalHead
from hepcalib.models import particle_transformer as room
from hepcalib.models.pair_features import pair_features
from hepcalib.models.particle_transformer import ParticleTransformer
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    LargestOf = Callable[[Callable[[], Tensor]], tuple[Tensor, int]]

COUNTS = (4, 0, 1, 7, 0, 2)
HEADS = 2


class Classes(Head):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def distribution(self, raw: Tensor) -> Categorical:
        return Categorical(logits=raw)


def small(**keywords: Any) -> ParticleTransformer:
    """A network in double precision, all of whose parameters and running values matter."""
    torch.manual_seed(1)
    defaults: dict[str, Any] = {
        "constituents": 7, "features": 2, "embed": (6, 8), "pair_embed": (5,), "heads": HEADS,
        "blocks": 2, "class_blocks": 2, "expansion": 2, "f": (6,), "head": NormalHead(),
    }  # fmt: skip
    model = ParticleTransformer(**{**defaults, **keywords}).double()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            spread = 0.3 * torch.randn_like(value)
            positive = value.dim() == 1 and not name.endswith(("bias", "token", "mean"))
            value.copy_(1 + spread.abs() if positive else spread)
    return model.eval()


def jets(counts: Sequence[int] = COUNTS, *, seed: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    items = int(offsets[-1])
    pt = 1 + 20 * torch.rand(items, generator=generator).double()
    y, phi, *others = torch.randn(5, items, generator=generator).double()
    y, phi = 0.3 * y, 3 + 0.3 * phi  # across the end of the range of angles
    transverse = torch.hypot(pt, torch.tensor(0.14).double())
    momenta = [transverse * y.cosh(), pt * phi.cos(), pt * phi.sin(), transverse * y.sinh()]
    values = torch.stack([*momenta, *others], dim=1)
    features = torch.randn(len(counts), 2, generator=generator).double()
    return Batch(features, Ragged(values, offsets))


def naive(model: ParticleTransformer, batch: Batch) -> Tensor:
    """One jet after the other, from the weights; the outputs of each."""
    assert batch.constituents is not None
    assert batch.features is not None
    rows = []
    for row, features in enumerate(batch.features):
        values = batch.constituents.select(slice(row, row + 1)).packed().values
        rows.append(_Naive(model).outputs(values, features))
    return torch.stack(rows)


class _Naive:
    def __init__(self, model: ParticleTransformer) -> None:
        self.state: dict[str, Tensor] = dict(model.state_dict())
        self.sizes = model.sizes

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - self.state[f"{name}.running_mean"]
        scaled = centred / (self.state[f"{name}.running_variance"] + 1e-5).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    @staticmethod
    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))

    def pair(self, a: Tensor, b: Tensor) -> Tensor:
        (ea, xa, ya, za), (eb, xb, yb, zb) = a.tolist(), b.tolist()
        pta, ptb = math.hypot(xa, ya), math.hypot(xb, yb)
        rapidities = [0.5 * math.log((e + z) / (e - z)) for e, z in ((ea, za), (eb, zb))]
        turn = math.atan2(ya, xa) - math.atan2(yb, xb)
        turn = (turn + math.pi) % (2 * math.pi) - math.pi
        delta = math.hypot(rapidities[0] - rapidities[1], turn)
        mass2 = (ea + eb) ** 2 - (xa + xb) ** 2 - (ya + yb) ** 2 - (za + zb) ** 2
        of = (min(pta, ptb) * delta, min(pta, ptb) / (pta + ptb), delta, mass2)
        return torch.tensor([math.log(max(value, 1e-8)) for value in of], dtype=torch.float64)

    def bias(self, momenta: Tensor) -> Tensor:
        """The bias of each pair, (heads, n, n)."""
        features = torch.stack([torch.stack([self.pair(a, b) for b in momenta]) for a in momenta])
        x = self.batch_norm("pair_embed.0", features)
        x = self.gelu(self.batch_norm("pair_embed.2", self.linear("pair_embed.1", x)))
        x = self.gelu(self.batch_norm("pair_embed.5", self.linear("pair_embed.4", x)))
        return x.permute(2, 0, 1)

    def attention(self, name: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        parts = []
        for head, (a, b, c) in enumerate(
            zip(q.chunk(HEADS, 1), k.chunk(HEADS, 1), v.chunk(HEADS, 1), strict=True)
        ):
            exponential = (a @ b.T / a.shape[1] ** 0.5 + bias[head]).exp()
            weights = exponential / exponential.sum(1, keepdim=True)
            parts.append(self.state[f"{name}.scale"][head] * (weights @ c))
        return self.linear(f"{name}.out", torch.cat(parts, dim=1))

    def added(self, name: str, x: Tensor, collected: Tensor) -> Tensor:
        x = x + self.layer_norm(f"{name}.after_attention", collected)
        y = self.layer_norm(f"{name}.dense.0", x)
        y = self.layer_norm(f"{name}.dense.4", self.gelu(self.linear(f"{name}.dense.1", y)))
        return self.state[f"{name}.residual"] * x + self.linear(f"{name}.dense.5", y)

    def outputs(self, values: Tensor, features: Tensor) -> Tensor:
        momenta, x = values[:, :4], values[:, 4:]
        x = self.layer_norm("embed.1", self.batch_norm("embed.0", x))
        x = self.layer_norm("embed.4", self.gelu(self.linear("embed.2", x)))
        x = self.gelu(self.linear("embed.5", x))
        bias = self.bias(momenta) if len(momenta) else torch.zeros(HEADS, 0, 0).double()
        for number in range(int(self.sizes["blocks"])):
            name = f"body.{number}"
            normalised = self.layer_norm(f"{name}.before_attention", x)
            projected = self.linear(f"{name}.attention.project", normalised)
            q, k, v = projected.chunk(3, dim=1)
            x = self.added(name, x, self.attention(f"{name}.attention", q, k, v, bias))
        token = self.state["token"].unsqueeze(0)
        for number in range(int(self.sizes["class_blocks"])):
            name = f"top.{number}"
            normalised = self.layer_norm(f"{name}.before_attention", torch.cat([token, x]))
            q = self.linear(f"{name}.attention.query", normalised[:1])
            k, v = self.linear(f"{name}.attention.project", normalised).chunk(2, dim=1)
            none = torch.zeros(HEADS, 1, 1).double()
            token = self.added(name, token, self.attention(f"{name}.attention", q, k, v, none))
        latent = torch.cat([self.layer_norm("norm", token)[0], features])
        return self.linear("f.2", self.linear("f.0", latent).relu())


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"), [(7, 2, 2_141_134), (17, 10, 2_143_486)]
)
def test_number_of_parameters_of_the_published_network(
    inputs: int, outputs: int, expected: int
) -> None:
    model = ParticleTransformer(constituents=4 + inputs, head=Classes(outputs))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@torch.no_grad()
def test_is_the_formula() -> None:
    model, batch = small(), jets()
    expected = naive(model, batch)
    assert expected.std(0).min() > 1e-2
    torch.testing.assert_close(model.outputs(batch), expected, rtol=0, atol=1e-10)


def test_the_way_that_is_differentiated_is_the_formula() -> None:
    model, batch = small(), jets()
    outputs = model.outputs(batch)
    torch.testing.assert_close(outputs, naive(model, batch), rtol=0, atol=1e-10)
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
    for block, pairs in ((1, 1), (7, 30), (50, 4), (10**6, 10**6)):
        monkeypatch.setattr(room, "BLOCK", block)
        monkeypatch.setattr(room, "PAIRS", pairs)
        torch.testing.assert_close(model.outputs(batch), found, rtol=0, atol=1e-13)


@torch.no_grad()
def test_places_that_pad_a_jet_change_nothing() -> None:
    """A jet beside one of five more constituents; the outputs are of the order of one."""
    model = small()
    long, short = jets((17,)).constituents, jets((12,), seed=5)
    assert long is not None
    assert short.constituents is not None
    together = Ragged.cat([long, short.constituents])
    both = Batch(torch.zeros(2, 2), together)
    alone = Batch(torch.zeros(1, 2), short.constituents)
    (bucket,) = together.buckets(10**6)
    assert (~bucket.mask).sum() == 5
    assert (model.outputs(both)[1] - model.outputs(alone)[0]).abs().max() < 1e-15


@torch.no_grad()
def test_the_momenta_act_through_pairs_only() -> None:
    model, batch = small(), jets((1, 6))
    assert batch.constituents is not None
    values = batch.constituents.values.clone()
    angle = torch.tensor(0.7).double()
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    values[:, 1:3] = values[:, 1:3] @ turn
    turned = model.outputs(batch._replace(constituents=Ragged(values, batch.constituents.offsets)))
    torch.testing.assert_close(turned, model.outputs(batch), rtol=0, atol=1e-11)
    values[1:, :3] *= 1.3
    other = model.outputs(batch._replace(constituents=Ragged(values, batch.constituents.offsets)))
    assert (other - turned)[1].abs().max() > 1e-3


def test_pair_features_at_their_limits_are_finite_with_finite_gradients() -> None:
    momenta = torch.tensor(
        [[0.0] * 4, [5.0, 0, 0, 5.0], [5.0, 3, 0, 4], [5.0, 3, 0, 4], [4.9, 3, 0, 4.0]]
    ).requires_grad_()
    i, j = torch.cartesian_prod(torch.arange(5), torch.arange(5)).unbind(1)
    features = pair_features(momenta, i, j)
    assert features.dtype == torch.float64
    assert features.isfinite().all()
    assert torch.equal(features, pair_features(momenta, j, i))
    torch.autograd.backward(features.sum())
    assert momenta.grad is not None
    assert momenta.grad.isfinite().all()


@torch.no_grad()
def test_attention_is_shared_out_over_the_constituents() -> None:
    model, batch = small(), jets()
    shares = model.attention(batch)
    assert shares.counts.tolist() == list(COUNTS)
    assert shares.values.min() > 0
    total = shares.sum()
    assert torch.equal(total == 0, torch.tensor(COUNTS) == 0)
    assert (total < 1).all()  # the rest is the token's own
    order = torch.tensor([3, 5, 0, 2, 1])
    again = model.attention(batch.select(order))
    torch.testing.assert_close(again.values, shares.select(order).values, rtol=0, atol=1e-13)


@torch.no_grad()
def test_jets_without_constituents_are_the_token() -> None:
    model, batch = small(features=0), jets((0, 3, 0))
    outputs = model.outputs(batch)
    assert torch.equal(outputs[0], outputs[2])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert outputs.isfinite().all()
    assert model.outputs(jets(())).shape == (0, 2)


@torch.no_grad()
def test_half_precision_inputs() -> None:
    model, batch = small().float(), jets().to(dtype=torch.float16)
    outputs = model.outputs(batch)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, model.outputs(batch.to(dtype=torch.float32)))
    torch.testing.assert_close(outputs.double(), small().outputs(batch), rtol=0, atol=1e-5)


@torch.no_grad()
def test_large_jets_fit_into_memory(monkeypatch: pytest.MonkeyPatch, largest_of: LargestOf) -> None:
    monkeypatch.setattr(room, "PAIRS", 65_536)
    model = small(blocks=1, pair_embed=(16,)).float()
    outputs, largest = largest_of(lambda: model.outputs(jets((2000, 3))))
    assert outputs.isfinite().all()
    # Two whole numbers for each pair; the latent values of all pairs would be twice as large.
    assert largest <= 2 * 2000**2 * 8 < 4 * 16 * 2000 * 2001 / 2


WRAPPERS: dict[str, Callable[[Model], Model]] = {
    "Bayesian": lambda model: Bayesian(model, draws=3),
    "DeepEnsemble": lambda model: DeepEnsemble(model, members=3),
    "Dropout": lambda model: Dropout(model, draws=3),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_trains_and_predicts_in_wrappers(wrap: Callable[[Model], Model]) -> None:
    model, batch = wrap(small()).train(), jets()
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


def test_running_values_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole batch, however it is cut into parts."""
    found = []
    for block in (1, 10**6):
        monkeypatch.setattr(room, "BLOCK", block)
        model = small(dropout=0.0).train()
        model.outputs(jets())
        found.append(torch.cat([buffer.flatten() for buffer in model.buffers()]))
        assert (found[-1] - torch.cat([b.flatten() for b in small().buffers()])).abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=0, atol=1e-13)


def test_bad_inputs_are_refused() -> None:
    model = small()
    with pytest.raises(ShapeError, match="ParticleTransformer: constituents of the batch: none"):
        model.outputs(Batch(torch.zeros(1, 2)))
    with pytest.raises(ShapeError, match="ParticleTransformer: features of the batch: none"):
        model.outputs(Batch(constituents=jets().constituents))
    with pytest.raises(ConfigError, match="constituents is 4"):
        ParticleTransformer(constituents=4, head=NormalHead())
    with pytest.raises(ConfigError, match="'blocks': 0"):
        small(blocks=0)
    with pytest.raises(ConfigError, match="width 8 and 3 heads"):
        small(heads=3)
