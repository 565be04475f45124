from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import decompose
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import MLP, PFN, BernoulliHead, Head, MixtureHead, Model, NormalHead
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.repulsion import RepulsiveEnsemble, bandwidth, kernel_repulsion
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable


class KnownWidth(Head):
    """A normal distribution of standard deviation 1."""

    outputs = 1

    def distribution(self, raw: Tensor) -> Normal:
        mean = raw.squeeze(-1)
        return Normal(mean, torch.ones_like(mean))


class Slope(Model):
    """y = w x with noise of variance 1."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        self.head = KnownWidth()

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.features is not None
        raw: Tensor = self.linear(batch.features)
        return raw


def mlp(head: Head | None = None) -> MLP:
    return MLP(features=2, hidden=(8,), head=head or MixtureHead(2))


def jets(rows: int = 20) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(rows) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator, dtype=torch.float64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    features = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    target = (torch.rand(rows, generator=generator, dtype=torch.float64) > 0.5).double()
    return Batch(features, Ragged(values, offsets)), target


def objective(model: Model, batch: Batch, target: Tensor, *, rows: int = 100) -> Tensor:
    predicted = model(batch)
    loss = model.loss(predicted, target).mean()
    return loss + model.regulariser(predicted, target, rows=rows)


def fit(model: Model, batch: Batch, target: Tensor, *, steps: int, rate: float) -> None:
    """Gradient descent on all rows at once."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(model, batch, target, rows=len(target)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
    model.eval()


def slow_repulsion(members: Tensor) -> Tensor:
    """The formula, pair by pair."""
    fixed, pairs = members.detach(), range(len(members))
    squares = torch.tensor(
        [[float((fixed[i] - fixed[j]).square().sum()) for j in pairs] for i in pairs]
    )
    width = float(torch.quantile(squares, 0.5)) / (2 * math.log(len(members) + 1))
    total = members.new_zeros(())
    for i in pairs:
        kernel = [torch.exp(-(members[i] - fixed[j]).square().sum() / (2 * width)) for j in pairs]
        density = torch.stack(kernel).sum()
        total = total + density / density.detach() - 1
    return total / len(members)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_value_0_and_the_gradient_of_the_formula(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    members = torch.randn(size, 5, generator=generator, dtype=torch.float64).requires_grad_()
    found, expected = kernel_repulsion(members), slow_repulsion(members)
    assert found.item() == 0.0
    assert abs(expected.item()) < 1e-6
    gradients = [torch.autograd.grad(value, members)[0] for value in (found, expected)]
    assert gradients[1].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)  # the slow one has a float32 width


def test_members_are_pushed_apart() -> None:
    members = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(kernel_repulsion(members), members)
    apart, together = members - 0.1 * gradient, members + 0.1 * gradient
    before = torch.pdist(members).square().sum()
    assert torch.pdist(apart).square().sum() > before
    assert torch.pdist(together).square().sum() < before
    # No force on the whole of two members: they are pushed in opposite directions.
    (pair,) = torch.autograd.grad(kernel_repulsion(two := members[:2]), members)
    torch.testing.assert_close(pair[0], -pair[1])
    assert (pair[0] * (two[0] - two[1])).sum() < 0


def test_members_close_together_are_told_apart_and_equal_ones_stay_finite() -> None:
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randn(5, 3, generator=generator)
    near = (1.0 + 1e-4 * offsets).requires_grad_()
    far = (1e-4 * (near.detach() - 1.0).double() / 1e-4).requires_grad_()
    near_gradient, far_gradient = (
        torch.autograd.grad(kernel_repulsion(members), members)[0] for members in (near, far)
    )
    torch.testing.assert_close(near_gradient.double(), far_gradient, rtol=1e-3, atol=1e-2)
    equal = torch.ones(5, 3, requires_grad=True)
    value = kernel_repulsion(equal)
    assert value.item() == 0.0
    assert torch.autograd.grad(value, equal)[0].abs().max() == 0.0


# Variance and variance + h of the particles. Descent may end in states whose medians differ, by
# 2 % of h for 100 particles and 10 % for 10.
PARTICLES = {10: (0.66, 0.80), 30: (0.80, 0.91), 100: (0.878, 0.966)}


def particles(number: int, *, repulsion: float = 1.0) -> Tensor:
    """Particles of N(0, 1), where -ln p(x) = x^2 / 2."""
    generator = torch.Generator().manual_seed(1)
    found = torch.randn(number, 1, generator=generator, dtype=torch.float64).requires_grad_()
    for _ in range(600):
        loss = found.square().mean() / 2 + repulsion * kernel_repulsion(found)
        (gradient,) = torch.autograd.grad(loss, found)
        found = (found - 0.05 * number * gradient).detach().requires_grad_()
    return found.detach()


@pytest.mark.parametrize("number", PARTICLES)
def test_particles_of_a_normal_distribution(number: int) -> None:
    variance, smoothed = PARTICLES[number]
    found = particles(number)
    width = bandwidth((found - found.T).square()).item()
    assert found.mean().item() == pytest.approx(0.0, abs=0.01)
    assert found.var(correction=0).item() == pytest.approx(variance, abs=0.005)
    assert found.var(correction=0).item() + width == pytest.approx(smoothed, abs=0.015)
    if number == 100:
        assert width == pytest.approx(0.088, abs=0.002)


def test_particles_without_or_with_twice_the_repulsion_are_others() -> None:
    assert particles(10, repulsion=0.0).var() < 1e-6
    assert particles(10, repulsion=2.0).var(correction=0) > 0.66 + 0.1


def line(rows: int = 200) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, generator=generator, dtype=torch.float64)
    return Batch(x), 0.7 * x.squeeze(1) + noise


def fitted_line(*, repulsion: float, prior_precision: float) -> tuple[RepulsiveEnsemble, Tensor]:
    """Fit a slope; return the squared spread of the prediction at x over that of the posterior."""
    batch, target = line()
    assert batch.features is not None
    torch.manual_seed(1)
    model = RepulsiveEnsemble(
        Slope().double(), members=30, repulsion=repulsion, prior_precision=prior_precision
    )
    fit(model, batch, target, steps=250, rate=0.06)
    with torch.no_grad():
        spread = decompose(model.members(Batch(torch.ones(1, 1).double()))).statistical.square()
    return model, spread * (prior_precision + batch.features.square().sum())


@pytest.mark.parametrize("prior_precision", [1.0, 200.0])
def test_spread_of_a_line_is_that_of_its_posterior(prior_precision: float) -> None:
    # The kernel sees per-event likelihoods, which are linear in the slope up to about 3 / rows.
    model, ratio = fitted_line(repulsion=1.0, prior_precision=prior_precision)
    assert ratio.item() == pytest.approx(0.80, abs=0.03)
    batch, target = line()
    assert batch.features is not None
    x = batch.features.squeeze(1)
    mode = (x @ target / (prior_precision + x @ x)).item()
    mean = model.stacked()["linear.weight"].mean().item()
    width = (prior_precision + x @ x).item() ** -0.5
    assert mean == pytest.approx(mode, abs=0.05 * width)


@pytest.mark.parametrize("repulsion", [0.0, 2.0])
def test_spread_of_a_line_with_another_repulsion_is_not(repulsion: float) -> None:
    _, ratio = fitted_line(repulsion=repulsion, prior_precision=1.0)
    assert abs(ratio.item() - 0.80) > 0.1


HEADS: dict[str, Callable[[], Model]] = {
    "mixture": mlp,
    "normal": lambda: mlp(NormalHead()),
    "bernoulli": lambda: mlp(BernoulliHead()),
    "PFN": lambda: PFN(constituents=3, features=2, phi=(4,), f=(4,), head=BernoulliHead()),
}


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())
def test_the_regulariser_is_the_prior_in_value_and_repels_in_training(
    make: Callable[[], Model],
) -> None:
    batch, target = jets()
    model = RepulsiveEnsemble(make().double(), members=4, prior_precision=3.0)
    predicted = model(batch)
    found = model.regulariser(predicted, target, rows=50)
    weights = [value for name, value in model.stacked().items() if name.endswith("weight")]
    squares = sum(float(weight.detach().square().sum()) for weight in weights)
    assert found.item() == pytest.approx(3.0 * squares / 4 / (2 * 50), rel=1e-12)
    assert model.regulariser(predicted, target, rows=100).item() == pytest.approx(found.item() / 2)
    assert model.eval().regulariser(predicted, target, rows=50).item() == pytest.approx(
        found.item()
    )

    free = RepulsiveEnsemble(make().double(), members=4, prior_precision=0.0)
    before = free.loss(free(batch), target).detach()
    optimizer = torch.optim.SGD(free.parameters(), lr=0.01)
    free.regulariser(free(batch), target, rows=1).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    optimizer.step()
    after = free.loss(free(batch), target).detach()
    assert torch.pdist(after).square().sum() > 1.0001 * torch.pdist(before).square().sum()


def test_a_row_of_weight_two_counts_twice_in_the_repulsion() -> None:
    batch, target = jets(18)
    weight = (torch.arange(18) % 3).double()  # of mean 1
    twice = torch.arange(18).repeat_interleave(weight.long())
    assert batch.features is not None
    model = RepulsiveEnsemble(mlp().double(), members=4, prior_precision=0.0)

    def gradients(features: Tensor, target: Tensor, weight: Tensor | None) -> list[Tensor]:
        predicted = model(Batch(features))
        found = model.regulariser(predicted, target, rows=18, weight=weight)
        return list(torch.autograd.grad(found, list(model.parameters())))

    found = gradients(batch.features, target, weight)
    expected = gradients(batch.features[twice], target[twice], None)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    without = gradients(batch.features, target, None)
    moved = [(a - b).abs().max() for a, b in zip(found, without, strict=True)]
    assert max(moved) > 1e-3 * max(b.abs().max() for b in without)
    sign = torch.where(target > 0, 1.0, -1.0)
    of_either_sign = gradients(batch.features, target, weight * sign)
    torch.testing.assert_close(of_either_sign, found)


def test_without_repulsion_a_deep_ensemble_with_a_prior() -> None:
    batch, target = jets()
    repulsive = RepulsiveEnsemble(mlp().double(), members=3, repulsion=0.0, prior_precision=5.0)
    deep = DeepEnsemble(mlp().double(), members=3)
    for name, value in deep.state_dict().items():
        assert torch.equal(repulsive.state_dict()[name], value)
    fit(repulsive, batch, target, steps=20, rate=0.1)
    optimizer = torch.optim.SGD(deep.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        deep.loss(deep(batch), target).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        for name, value in deep.networks.items():
            assert value.grad is not None
            if name.endswith("weight"):
                value.grad += 5.0 / len(target) * value.detach()
        optimizer.step()
    for name, value in deep.state_dict().items():
        torch.testing.assert_close(repulsive.state_dict()[name], value, rtol=1e-10, atol=1e-12)
    with_repulsion = RepulsiveEnsemble(mlp().double(), members=3, prior_precision=5.0)
    fit(with_repulsion, batch, target, steps=20, rate=0.1)
    assert (
        with_repulsion.member_outputs(batch) - repulsive.member_outputs(batch)
    ).abs().max() > 1e-3


def test_the_prior_is_as_strong_for_each_member_as_for_a_lone_network() -> None:
    batch, target = jets()
    model = RepulsiveEnsemble(mlp().double(), members=3, repulsion=0.0, prior_precision=5.0)
    model.regulariser(model(batch), target, rows=10).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    weight = model.networks["network__0__weight"]
    torch.testing.assert_close(weight.grad, 5.0 * weight.detach() / 10)
    assert model.networks["network__0__bias"].grad is None


def test_a_single_fit_with_a_prior_needs_no_others() -> None:
    batch, target = jets()
    model = RepulsiveEnsemble(mlp().double(), members=1, repulsion=0.0, prior_precision=5.0)
    model.regulariser(model(batch), target, rows=10).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    weight = model.networks["network__0__weight"]
    torch.testing.assert_close(weight.grad, 5.0 * weight.detach() / 10)
    assert model.member_outputs(batch).shape[0] == 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"members": 1}, "members is 1; needed: at least 2"),
        ({"repulsion": -1.0}, "repulsion is -1.0; needed: finite, at least 0"),
        ({"repulsion": math.nan}, "repulsion is nan"),
        ({"prior_precision": math.inf}, "prior_precision is inf"),
        ({"prior_precision": -0.1}, "prior_precision is -0.1"),
        ({"seed": -1}, "RepulsiveEnsemble: seed is -1"),
    ],
)
def test_bad_values_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RepulsiveEnsemble(mlp(), **keywords)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 4)])
def test_members_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"needed: \(at least 2, D\)"):
        kernel_repulsion(torch.zeros(shape))
