from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import particle_net as particle_net_module
from hepcalib.models.bayesian import Bayesian
from hepcalib.models.dropout import Dropout
from hepcalib.models.edge_conv import EdgeConv, Edges
from hepcalib.models.efn import EFN
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.evidential import Evidential, EvidentialHead
from hepcalib.models.gaussian_ansatz import GaussianAnsatz
from hepcalib.models.heads import BernoulliHead, NormalHead
from hepcalib.models.laplace import Laplace
from hepcalib.models.model import Labelled, Model
from hepcalib.models.normalisation import BatchNorm
from hepcalib.models.particle_net import ParticleNet
from hepcalib.models.particle_net_lite import ParticleNetLite
from hepcalib.models.repulsion import RepulsiveEnsemble
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = (4, 0, 1, 7, 0, 2, 12, 30)

WRAPPERS: dict[str, Callable[[], Model]] = {
    "Bayesian": lambda: Bayesian(small(), draws=3),
    "Dropout": lambda: Dropout(small(), draws=3),
    "DeepEnsemble": lambda: DeepEnsemble(small(), members=3),
    "RepulsiveEnsemble": lambda: RepulsiveEnsemble(small(), members=3),
    "Evidential": lambda: Evidential(small(head=EvidentialHead())),
    "GaussianAnsatz": lambda: GaussianAnsatz(small(), warmup=2),
    "Laplace": lambda: Laplace(small(), draws=3),
}
wrappers = pytest.mark.parametrize("make", WRAPPERS.values(), ids=WRAPPERS.keys())


def small(**keywords: Any) -> ParticleNet:
    sizes = {"features": 2, "k": 3, "edge_conv": ((6, 7), (8, 8, 5)), "f": (9,), "dropout": 0.0}
    keywords = {"constituents": 4, "head": NormalHead(), **sizes, **keywords}
    return ParticleNet(**keywords)


def jets(counts: tuple[int, ...] = COUNTS, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    values = torch.randn(int(offsets[-1]), 4, generator=generator)
    features = torch.randn(len(counts), 2, generator=generator)
    return Batch(features, Ragged(values, offsets)).to(dtype=dtype)


def randomised(model: Model) -> Model:
    """With numbers that matter everywhere, in normalisations too."""
    torch.manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
            if isinstance(module, BatchNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
                module.running_mean.normal_(std=0.3)
                module.running_variance.uniform_(0.5, 1.5)
    return model.eval()


def naive(model: ParticleNet, batch: Batch) -> Tensor:
    """One jet after the other, one constituent after the other, one neighbour after the other."""
    assert batch.features is not None
    assert batch.constituents is not None
    rows = []
    packed = batch.constituents.packed()
    for jet, features in zip(
        torch.split(packed.values, packed.counts.tolist()), batch.features, strict=True
    ):
        latent, points = model.normalisation(jet), jet[:, :2]
        for convolution in model.convolutions:
            assert isinstance(convolution, EdgeConv)
            latent = (
                torch.stack(
                    [
                        _convolved(convolution, latent, item, _nearest(points, item, model.k))
                        for item in range(len(jet))
                    ]
                )
                if len(jet)
                else latent.new_zeros(0, convolution.shortcut.out_features)
            )
            points = latent
        pooled = latent.sum(0) / max(1, len(jet))
        rows.append(model.f(torch.cat([pooled, features])))
    return torch.stack(rows)


def _nearest(points: Tensor, item: int, k: int) -> list[int]:
    distances = (points - points[item]).square().sum(1).tolist()
    others = [other for other in range(len(points)) if other != item]
    return sorted(others, key=lambda other: distances[other])[:k]


def _convolved(convolution: EdgeConv, x: Tensor, item: int, neighbours: list[int]) -> Tensor:
    """As published: a network of (x_i, x_j - x_i), its average, and the shortcut."""
    of_difference = convolution.of_neighbour.weight
    of_item = convolution.of_item.weight + of_difference
    first = torch.cat([of_item, of_difference], dim=1)
    total = x.new_zeros(convolution.shortcut.out_features)
    for other in neighbours:
        pair = first @ torch.cat([x[item], x[other] - x[item]])
        pair = convolution.norm(pair.unsqueeze(0)).relu()
        for linear, norm in zip(convolution.linear, convolution.norms, strict=True):
            pair = norm(linear(pair)).relu()
        total = total + pair[0] / len(neighbours)
    shortcut: Tensor = convolution.shortcut_norm(convolution.shortcut(x[item : item + 1]))[0]
    return (shortcut + total).relu()


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "count"), [(ParticleNet, 366_160), (ParticleNetLite, 26_416)])
def test_number_of_parameters_of_the_published_networks(
    kind: type[ParticleNet], count: int
) -> None:
    model = kind(constituents=7, head=NormalHead())
    assert model.head.outputs == 2
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_is_the_naive_loop() -> None:
    model = randomised(small(k=5).double())
    assert isinstance(model, ParticleNet)
    batch = jets(dtype=torch.float64)
    expected = naive(model, batch)
    assert expected.std(0).min() > 0.01
    torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-10, atol=1e-10)
    with torch.inference_mode():
        torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-10, atol=1e-10)


def test_training_normalises_over_the_real_pairs() -> None:
    """A jet beside others in training is one whose running values are those of the batch."""
    model = small(k=5).double()
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
    batch = jets(dtype=torch.float64)
    trained = model.train().outputs(batch)
    for module in model.modules():
        if isinstance(module, BatchNorm):  # unbiased there, biased in the batch
            module.running_variance *= 1.0 - 1.0 / _items_of(model, module, batch)
    torch.testing.assert_close(model.eval().outputs(batch), trained, rtol=1e-10, atol=1e-10)


def _items_of(model: ParticleNet, module: BatchNorm, batch: Batch) -> int:
    assert batch.constituents is not None
    pairs = sum(count * min(model.k, count - 1) for count in COUNTS if count)
    of_items = [model.normalisation]
    of_items += [
        convolution.shortcut_norm
        for convolution in model.convolutions
        if isinstance(convolution, EdgeConv)
    ]
    return batch.constituents.items if any(module is norm for norm in of_items) else pairs


def test_a_linear_convolution_over_all_others_is_the_closed_form() -> None:
    """A x_i + B (x_j - x_i) averages to A x_i + B (mean - x_i) n / (n - 1)."""
    torch.manual_seed(3)
    convolution = EdgeConv(4, [3]).double().eval()
    with torch.no_grad():
        convolution.norm.bias.fill_(100.0)  # no pair is cut off
    x = torch.randn(6, 4, dtype=torch.float64)
    item = torch.arange(6).repeat_interleave(5)
    neighbour = torch.tensor([j for i in range(6) for j in range(6) if j != i])
    found = convolution(x, Edges(neighbour, item, torch.full((6,), 5)))
    of_difference = convolution.of_neighbour.weight.T
    of_item = convolution.of_item.weight.T + of_difference
    linear = x @ of_item + 6 / 5 * (x.mean(0) - x) @ of_difference
    shortcut = convolution.shortcut_norm(convolution.shortcut(x))
    scale = (1.0 + convolution.norm.epsilon) ** -0.5
    torch.testing.assert_close(found, scale * linear + 100.0 + shortcut, rtol=1e-10, atol=1e-10)


def test_pairs_in_equal_sets_are_those_with_their_items() -> None:
    torch.manual_seed(3)
    convolution, x = EdgeConv(4, [5, 6]), torch.randn(8, 4)
    neighbour, counts = torch.randint(8, (24,)), torch.full((8,), 3)
    for mode in (True, False):
        convolution.train(mode)
        expected = convolution(x, Edges(neighbour, torch.arange(8).repeat(3), counts))
        assert_close(convolution(x, Edges(neighbour, None, counts)), expected)


def test_first_weights_of_both_parts_of_a_pair_have_the_same_variance() -> None:
    torch.manual_seed(4)
    convolution = EdgeConv(100, [200])
    of_difference = convolution.of_neighbour.weight
    of_item = convolution.of_item.weight + of_difference
    for weight in (of_item, of_difference):  # 20000 numbers of variance 2 / inputs
        assert weight.var().item() == pytest.approx(2.0 / 200, rel=5 * (0.8 / 20000) ** 0.5)


def test_order_of_constituents_does_not_matter() -> None:
    model, batch = randomised(small()), jets()
    assert batch.constituents is not None
    ids = batch.constituents.row_ids()
    shuffled = torch.randperm(len(ids), generator=torch.Generator().manual_seed(3))
    shuffled = shuffled[ids[shuffled].argsort(stable=True)]
    permuted = Ragged(batch.constituents.values[shuffled], batch.constituents.offsets)
    other = batch._replace(constituents=permuted)
    assert_close(model.outputs(other), model.outputs(batch))


@pytest.mark.parametrize("block", [1, 20, 100, 100_000])
def test_blocks_and_other_jets_do_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = randomised(small()), jets()
    expected = model.outputs(batch)
    monkeypatch.setattr(particle_net_module, "BLOCK", block)
    assert_close(model.outputs(batch), expected)
    for row in range(len(COUNTS)):
        assert_close(model.outputs(batch.select(slice(row, row + 1)))[0], expected[row])
    order = torch.tensor([3, 5, 0, 2, 2, 1])
    assert_close(model.outputs(batch.select(order)), expected[order])


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (1,), (1, 1), (2, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_few_constituents(counts: tuple[int, ...], training: bool) -> None:
    model, batch = randomised(small()).train(training), jets(counts)
    outputs = model.outputs(batch)
    assert outputs.shape == (len(counts), 2)
    assert outputs.isfinite().all()
    outputs.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_an_empty_jet_has_no_gradient_and_one_constituent_has() -> None:
    model, batch = randomised(small()), jets((0, 1, 5))
    assert batch.constituents is not None
    values = batch.constituents.values.requires_grad_()
    gradients = [
        torch.autograd.grad(model.outputs(batch)[row].sum(), values)[0] for row in range(3)
    ]
    assert gradients[0].abs().max() == 0
    assert gradients[1][0].abs().max() > 0
    assert gradients[1][1:].abs().max() == 0
    assert (gradients[2][1:].abs().sum(1) > 0).all()


def test_gradient_is_the_numerical_one() -> None:
    model, batch = randomised(small(k=2).double()), jets((3, 1, 5), torch.float64)
    assert batch.constituents is not None
    values = batch.constituents.values.clone().requires_grad_()
    offsets = batch.constituents.offsets

    def outputs(values: Tensor) -> Tensor:
        return model.outputs(Batch(batch.features, Ragged(values, offsets)))

    for training in (False, True):
        for module in model.train(training).modules():
            if isinstance(module, BatchNorm):
                module.momentum = 1e-300  # a call of the function does not change the next
        assert torch.autograd.gradcheck(outputs, (values,))


def test_a_jet_of_2000_constituents() -> None:
    model, batch = (
        randomised(ParticleNetLite(constituents=4, features=2, head=NormalHead())),
        jets((2000, 3)),
    )
    with torch.inference_mode():
        found = model.outputs(batch)
        alone = model.outputs(batch.select(slice(1, 2)))
    assert found.isfinite().all()
    assert_close(alone[0], found[1])


@wrappers
def test_wrappers_train_and_predict(make: Callable[[], Model]) -> None:
    torch.manual_seed(5)
    model, batch = make(), jets()
    labelled = Labelled(batch, torch.linspace(-1.0, 1.0, len(COUNTS)))
    descent = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        predicted = model.train()(batch)
        loss = model.loss(predicted, labelled.target).mean()
        loss = loss + model.regulariser(predicted, labelled.target, rows=100)
        descent.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        descent.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    running = [name for name in before if "running" in name]
    assert len(running) == 2 * (1 + 3 + 4) * (4 if isinstance(model, GaussianAnsatz) else 1)
    assert all(not torch.equal(before[name], model.state_dict()[name]) for name in running)
    model.eval()
    model.finish(labelled, labelled)
    with torch.no_grad():
        members = model.member_outputs(batch)
        mean = model.members(batch).mean
        assert members.isfinite().all()
        assert mean.isfinite().all()
        assert mean.std(1).min() > 1e-6
        assert len(members) == 1 or members.std(0).min() > 0
        order = torch.tensor([6, 1, 3])
        again = model.member_outputs(batch.select(order))
    assert_close(again, members[:, order])


def test_members_of_an_ensemble_are_networks_of_their_own() -> None:
    ensemble = DeepEnsemble(small(), members=2, seed=7).eval()
    with torch.no_grad():
        for name, value in {**ensemble.stacked(), **ensemble.stacked_buffers()}.items():
            if "variance" not in name:
                value.add_(0.2 * torch.randn_like(value))
    found = ensemble.member_outputs(jets())
    for number in range(2):
        lone = small().eval()
        state = {**ensemble.stacked(), **ensemble.stacked_buffers()}
        lone.load_state_dict({name: value[number] for name, value in state.items()})
        assert_close(found[number], lone.outputs(jets()))


def pairs_or_not(jets: int) -> tuple[Batch, Tensor]:
    """Constituents in close pairs, or none of them is: the density of directions is the same."""
    generator = torch.Generator().manual_seed(6)
    labels = torch.arange(jets) % 2
    directions = torch.rand(jets, 6, 2, generator=generator) - 0.5
    others = torch.rand(jets, 6, 2, generator=generator) - 0.5
    close = directions + 0.02 * torch.randn(jets, 6, 2, generator=generator)
    others = torch.where(labels.view(-1, 1, 1) == 1, close, others)
    values = torch.cat([directions, others], dim=1).flatten(0, 1)
    fractions = torch.full((len(values), 1), 1 / 12)
    offsets = 12 * torch.arange(jets + 1)
    return Batch(constituents=Ragged(torch.cat([fractions, values], 1), offsets)), labels.float()


def learnt(model: Model, batch: Batch, target: Tensor) -> float:
    """The share of jets on the right side, in the second half of a sample, after a training."""
    half = len(target) // 2
    descent = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(60):
        rows = torch.arange(step * 50, step * 50 + 100) % half
        descent.zero_grad()
        loss = model.loss(model.train()(batch.select(rows)), target[rows]).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        descent.step()
    with torch.no_grad():
        mean = model.eval()(batch.select(slice(half, None))).mean
    return float(((mean > 0.5) == (target[half:] > 0.5)).double().mean())


def test_learns_of_pairs_what_a_sum_over_constituents_does_not_show() -> None:
    batch, target = pairs_or_not(1200)
    torch.manual_seed(8)
    sums = EFN(phi=(32, 32), f=(32,), head=BernoulliHead())
    assert batch.constituents is not None
    angles = batch.constituents.map(lambda values: values[:, 1:])
    graph = ParticleNet(
        constituents=2, k=1, edge_conv=((16, 16),), f=(16,), dropout=0.0, head=BernoulliHead()
    )
    # 600 jets: the share of a guess is 0.5 with a deviation of 0.02.
    assert learnt(graph, Batch(constituents=angles), target) > 0.9
    assert learnt(sums, batch, target) < 0.75


def test_copies_and_descriptions() -> None:
    model = randomised(small(dropout=0.25))
    assert isinstance(model, ParticleNet)
    assert model.config == {
        "constituents": 4,
        "features": 2,
        "k": 3,
        "edge_conv": [[6, 7], [8, 8, 5]],
        "f": [9],
        "dropout": 0.25,
        "head": {"name": "NormalHead", "shift": 0.0, "scale": 1.0},
    }
    again = ParticleNet(**{**model.config, "head": NormalHead()}).eval()
    again.load_state_dict(copy.deepcopy(model).state_dict())
    assert torch.equal(again.outputs(jets()), model.outputs(jets()))
    assert not torch.equal(model.train().outputs(jets()), model.outputs(jets()))  # of dropout


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"constituents": 1}, "ParticleNet: constituents is 1, features 2, k 3; needed: at least"),
        ({"features": -1}, "features -1"),
        ({"k": 0}, "k 0"),
        ({"dropout": 1.0}, "dropout is 1.0; needed: at least 0 and below 1"),
        ({"edge_conv": ()}, r"edge_conv is \[\]; needed: widths of at least 1"),
        ({"edge_conv": ((8,), ())}, r"edge_conv is \[\[8\], \[\]\]"),
        ({"edge_conv": ((8, 0),)}, r"edge_conv is \[\[8, 0\]\]"),
        ({"f": (0,)}, r"ParticleNet f: layer widths are \[5, 0\]|\[7, 0\]"),
    ],
)
def test_impossible_configurations_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**keywords)


def test_batches_that_do_not_fit_are_refused() -> None:
    model, batch = small(), jets()
    assert batch.constituents is not None
    narrow = batch.constituents.map(lambda values: values[:, :3])
    with pytest.raises(
        ShapeError, match=r"ParticleNet: constituents of the batch: .*\(\.\.\., 4\)"
    ):
        model.outputs(Batch(batch.features, narrow))
    with pytest.raises(ShapeError, match="constituents of the batch: none"):
        model.outputs(Batch(batch.features))
    with pytest.raises(ShapeError, match="features of the batch: none"):
        model.outputs(Batch(constituents=batch.constituents))
