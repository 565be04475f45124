from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributions import Categorical

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import PFN, Bayesian, DeepEnsemble, Dropout, Head, Model, NormalHead
from hepcalib.models import lorentz_net as room
from hepcalib.models.lorentz_net import LorentzNet
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    LargestOf = Callable[[Callable[[], Tensor]], tuple[Tensor, int]]

COUNTS = (4, 0, 1, 7, 0, 2)


class TwoClasses(Head):
    outputs = 2

    def distribution(self, raw: Tensor) -> Categorical:
        return Categorical(logits=raw)


def randomised(model: LorentzNet) -> LorentzNet:
    """The network in double precision, all of whose parameters and running values matter."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.double().named_parameters(), *model.named_buffers()]:
            spread = 0.4 * torch.randn_like(value)
            positive = value.dim() == 1 and not name.endswith(("bias", "mean"))
            value.copy_(1 + spread.abs() if positive else spread)
    return model.eval()


def small(**keywords: Any) -> LorentzNet:
    defaults: dict[str, Any] = {
        "constituents": 6, "features": 2, "hidden": 5, "blocks": 3, "head": NormalHead(),
    }  # fmt: skip
    return randomised(LorentzNet(**{**defaults, **keywords}))


def jets(counts: Sequence[int] = COUNTS, *, seed: int = 2, width: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    items = int(offsets[-1])
    pt = 1 + 20 * torch.rand(items, generator=generator).double()
    y, phi = 0.3 * torch.randn(2, items, generator=generator).double()
    transverse = torch.hypot(pt, torch.tensor(0.14).double())
    momenta = [transverse * y.cosh(), pt * phi.cos(), pt * phi.sin(), transverse * y.sinh()]
    others = torch.randn(items, width - 4, generator=generator).double()
    values = torch.cat([torch.stack(momenta, dim=1), others], dim=1)
    features = torch.randn(len(counts), 2, generator=generator).double()
    return Batch(features, Ragged(values, offsets))


def transformed(batch: Batch, matrix: Tensor) -> Batch:
    """The jets with E, px, py, pz times a matrix, and all else as it was."""
    assert batch.constituents is not None
    values = batch.constituents.values.clone()
    values[:, :4] = (values[:, :4].double() @ matrix.T).to(values.dtype)
    return batch._replace(constituents=Ragged(values, batch.constituents.offsets))


def lorentz_transformation(gamma: float, seed: int) -> Tensor:
    """A rotation, a boost in any direction and another rotation."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(3, generator=generator).double()
    direction = direction / direction.norm()
    boost = torch.eye(4).double()
    boost[0, 0] = gamma
    boost[0, 1:] = boost[1:, 0] = math.sqrt(gamma**2 - 1) * direction
    boost[1:, 1:] += (gamma - 1) * torch.outer(direction, direction)
    rotations = []
    for _ in range(2):
        q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator).double())
        rotation = torch.eye(4).double()
        rotation[1:, 1:] = q * r.diagonal().sign()
        rotations.append(rotation)
    matrix: Tensor = rotations[0] @ boost @ rotations[1]
    return matrix


def naive(model: LorentzNet, batch: Batch) -> Tensor:
    """One jet and one pair after the other, from the weights; the outputs of each."""
    assert batch.constituents is not None
    assert batch.features is not None
    rows = []
    for row, features in enumerate(batch.features):
        values = batch.constituents.select(slice(row, row + 1)).packed().values
        rows.append(_Naive(model).outputs(values, features if model.features else features[:0]))
    return torch.stack(rows)


class _Naive:
    metric = torch.tensor([1.0, -1, -1, -1]).double()

    def __init__(self, model: LorentzNet) -> None:
        self.state: dict[str, Tensor] = dict(model.state_dict())
        self.sizes = model.sizes

    def linear(self, name: str, x: Tensor) -> Tensor:
        bias = self.state.get(f"{name}.bias", torch.zeros(()))
        return self.state[f"{name}.weight"] @ x + bias

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - self.state[f"{name}.running_mean"]
        scaled = centred / (self.state[f"{name}.running_variance"] + 1e-5).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def psi(self, a: Tensor, b: Tensor) -> Tensor:
        z = (self.metric * a * b).sum()
        return z.sign() * torch.log(1 + z.abs())

    def message(self, name: str, hs: tuple[Tensor, Tensor], xs: tuple[Tensor, Tensor]) -> Tensor:
        difference = xs[0] - xs[1]
        psis = torch.stack([self.psi(difference, difference), self.psi(*xs)])
        names = (f"{name}.first.weight", f"{name}.second.weight", f"{name}.invariants.weight")
        weight = torch.cat([self.state[part] for part in names], dim=1)
        latent = self.batch_norm(f"{name}.message.0", weight @ torch.cat([*hs, psis])).relu()
        return self.linear(f"{name}.message.2", latent).relu()

    def outputs(self, values: Tensor, features: Tensor) -> Tensor:
        x, scalars = list(values[:, :4]), list(values[:, 4:])
        if values.shape[1] == 4:
            scalars = [self.psi(p, p).unsqueeze(0) for p in x]
        h = [self.linear("embed", s) for s in scalars]
        for number in range(int(self.sizes["blocks"])):
            name = f"body.{number}"
            moved, updated = [], []
            for i in range(len(x)):
                received = torch.zeros_like(h[i])
                step = torch.zeros_like(x[i])
                for j in range(len(x)):
                    if i == j:
                        continue
                    m = self.message(name, (h[i], h[j]), (x[i], x[j]))
                    received += torch.sigmoid(self.linear(f"{name}.share.0", m)) * m
                    if number < self.sizes["blocks"] - 1:
                        latent = self.linear(f"{name}.step.0", m).relu()
                        step += self.linear(f"{name}.step.2", latent) * x[j]
                latent = self.linear(f"{name}.update.0", torch.cat([h[i], received, scalars[i]]))
                latent = self.batch_norm(f"{name}.update.1", latent).relu()
                moved.append(x[i] + self.sizes["c"] * step)
                updated.append(h[i] + self.linear(f"{name}.update.3", latent))
            x, h = moved, updated
        pooled = torch.stack(h).mean(0) if h else torch.zeros(int(self.sizes["hidden"])).double()
        return self.linear("f.3", self.linear("f.0", torch.cat([pooled, features])).relu())


@pytest.mark.parametrize(("scalars", "expected"), [(0, 223_568), (1, 223_568), (2, 224_072)])
def test_number_of_parameters_of_the_published_network(scalars: int, expected: int) -> None:
    model = LorentzNet(constituents=4 + scalars, head=TwoClasses())
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@torch.no_grad()
@pytest.mark.parametrize("keywords", [{}, {"constituents": 4, "features": 0}, {"c": 0.3}])
def test_is_the_formula(keywords: dict[str, Any]) -> None:
    model = small(**keywords)
    batch = jets(width=model.constituents)
    expected = naive(model, batch)
    assert expected.std(0).min() > 1e-2
    torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-10, atol=1e-10)


def test_every_parameter_is_reached() -> None:
    model, batch = small().train(), jets()
    assert batch.constituents is not None
    batch.constituents.values.requires_grad_()
    torch.autograd.backward(model.outputs(batch).square().sum())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert batch.constituents.values.grad is not None
    assert batch.constituents.values.grad.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("gamma", [1.0, 1.5, 5.0])
@pytest.mark.parametrize("keywords", [{}, {"constituents": 4, "features": 0}])
def test_invariant_under_rotations_and_boosts(gamma: float, keywords: dict[str, Any]) -> None:
    model = small(**keywords)
    batch = jets(width=model.constituents)
    for seed in range(5):
        moved = transformed(batch, lorentz_transformation(gamma, seed))
        found = model.outputs(batch)
        torch.testing.assert_close(model.outputs(moved), found, rtol=1e-9, atol=1e-9)
        assert found.std(0).min() > 1e-2
    single = copy.deepcopy(model).float()
    found = single.outputs(batch)
    for seed in range(20):
        moved = transformed(batch, lorentz_transformation(gamma, seed))
        off = (single.outputs(moved) - found).abs().amax(0)
        assert (off / found.std(0)).max() < 1e-4
        # In single precision 0.14 GeV at 200 GeV is known to (200 / 0.14)^2 2^-24 = 12 % of m^2,
        # for any network; of what follows from it, this one adds little.
        rounded = moved.to(dtype=torch.float32)
        own = single.outputs(rounded) - model.outputs(rounded.to(dtype=torch.float64))
        assert (own.abs().amax(0) / found.std(0)).max() < 1e-5


@torch.no_grad()
def test_other_networks_and_transformations_are_not_invariant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = small(), jets()
    torch.manual_seed(3)
    other = PFN(constituents=6, features=2, phi=(8,), f=(8,), head=NormalHead()).double()
    for parameter in other.f.parameters():
        torch.nn.init.normal_(parameter)
    moved = transformed(batch, lorentz_transformation(1.5, 0))
    assert (other.outputs(moved) - other.outputs(batch)).abs().max() > 1e-2
    scaled = transformed(batch, 1.2 * torch.eye(4).double())
    assert (model.outputs(scaled) - model.outputs(batch)).abs().max() > 1e-3
    monkeypatch.setattr(room, "minkowski", lambda a, b: (a * b).sum(-1))  # of another signature
    assert (model.outputs(moved) - model.outputs(batch)).abs().max() > 1e-3


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
    torch.testing.assert_close(model.outputs(permuted), found, rtol=1e-12, atol=1e-12)
    for row in range(7):
        alone = model.outputs(batch.select(slice(row, row + 1)))
        torch.testing.assert_close(alone[0], found[row], rtol=1e-12, atol=1e-12)
    for block, pairs in ((1, 1), (7, 10), (50, 3), (10**6, 10**6)):
        monkeypatch.setattr(room, "BLOCK", block)
        monkeypatch.setattr(room, "PAIRS", pairs)
        torch.testing.assert_close(model.outputs(batch), found, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_jets_without_constituents_are_f_of_their_features() -> None:
    model, batch = small(), jets((0, 3, 0))
    outputs = model.outputs(batch)
    assert batch.features is not None
    expected = model.f(torch.cat([torch.zeros(3, 5).double(), batch.features], dim=1))
    torch.testing.assert_close(outputs[[0, 2]], expected[[0, 2]])
    assert model.outputs(jets(())).shape == (0, 2)


@torch.no_grad()
def test_half_precision_inputs() -> None:
    model, batch = small().float(), jets().to(dtype=torch.float16)
    outputs = model.outputs(batch)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, model.outputs(batch.to(dtype=torch.float32)))
    torch.testing.assert_close(outputs.double(), small().outputs(batch), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_large_jets_fit_into_memory(monkeypatch: pytest.MonkeyPatch, largest_of: LargestOf) -> None:
    monkeypatch.setattr(room, "PAIRS", 65_536)
    model = small(hidden=16, blocks=1).float()
    outputs, largest = largest_of(lambda: model.outputs(jets((2000, 3))))
    assert outputs.isfinite().all()
    # The places of all pairs, three numbers each; their latent values would be more.
    assert largest <= 3 * 8 * 2000**2 < 16 * 4 * 2000**2


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
    assert members.shape == (3, len(COUNTS), 2)
    assert members.std(0).max() > 1e-4


def test_running_values_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole batch, however it is cut into parts."""
    found = []
    for block in (1, 10**6):
        monkeypatch.setattr(room, "BLOCK", block)
        model = small().train()
        model.outputs(jets())
        found.append(torch.cat([buffer.flatten() for buffer in model.buffers()]))
        assert (found[-1] - torch.cat([b.flatten() for b in small().buffers()])).abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_bad_inputs_are_refused() -> None:
    model = small()
    with pytest.raises(ShapeError, match="LorentzNet: constituents of the batch: none"):
        model.outputs(Batch(torch.zeros(1, 2)))
    with pytest.raises(ShapeError, match="LorentzNet: features of the batch: none"):
        model.outputs(Batch(constituents=jets().constituents))
    with pytest.raises(ConfigError, match="constituents is 3"):
        small(constituents=3)
    with pytest.raises(ConfigError, match="c is inf"):
        small(c=math.inf)
    with pytest.raises(ConfigError, match=r"dropout 1\.0"):
        small(dropout=1.0)
