from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses import moment_decomposition

SHAPES: list[dict[str, Any]] = [
    {"order": 0},
    {"order": 1},
    {"order": 2},
    {"order": 1, "max_slope": 0.3},
    {"order": 2, "max_slope": 0.3},
    {"order": 2, "monotonic": True},
    {"order": 2, "max_slope": 0.3, "monotonic": True},
]


def grid(n: int) -> Tensor:
    """The middles of n equal parts of [-1, 1]."""
    return 2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n - 1


def tilted(slope: float, *, masses: int = 512, scores: int = 1024) -> tuple[Tensor, Tensor]:
    """Scores and masses with F_m(s) = s + slope m s (1 - s), without fluctuations."""
    m = grid(masses).repeat_interleave(scores)
    level = ((grid(scores) + 1) / 2).repeat(masses)
    tilt = slope * m
    root = torch.sqrt((1 + tilt).square() - 4 * tilt * level)
    return 2 * level / (1 + tilt + root), m


def sample(n: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A score that depends on the mass strongly and not linearly, and weights."""
    generator = torch.Generator().manual_seed(seed)
    mass, noise, weight = torch.rand(3, n, generator=generator, dtype=torch.float64)
    mass = 50 + 250 * mass.square()
    return torch.sigmoid(2 * noise + 4 * (mass / 150 - 1).square() - 2), mass, weight + 0.1


def naive(
    score: Tensor,
    mass: Tensor,
    weight: Tensor,
    *,
    bins: int,
    order: int,
    max_slope: float | None = None,
    monotonic: bool = False,
) -> float:
    """The definition, step by step; no ties."""
    by_mass = torch.argsort(mass)
    share = weight[by_mass] / weight.sum()
    bin_number = ((share.cumsum(0) - share / 2) * bins).long()
    groups = [by_mass[bin_number == number] for number in range(bins)]
    least, most = float(mass.min()), float(mass.max())
    edges = [-1.0]
    for left, right in itertools.pairwise(groups):
        middle = (float(mass[left[-1]]) + float(mass[right[0]])) / 2
        edges.append(2 * (middle - least) / (most - least) - 1)
    edge = torch.tensor([*edges, 1.0], dtype=torch.float64)
    width, low, high = edge.diff(), edge[:-1], edge[1:]
    columns = [torch.ones_like(low), (low + high) / 2]
    columns.append((low**2 + low * high + high**2) / 2 - 0.5)  # mean of (3 m^2 - 1) / 2
    design = torch.stack(columns[: order + 1], dim=1)
    occupancy = torch.stack([weight[group].sum() for group in groups]) / weight.sum()
    steps = torch.cat((score.sort().values, torch.ones(1, dtype=torch.float64)))
    total = 0.0
    for s, upper in itertools.pairwise(steps):
        below = [weight[group][score[group] <= s].sum() / weight[group].sum() for group in groups]
        profile = torch.stack(below)
        root = width.sqrt()
        moments: Tensor = torch.linalg.lstsq(
            design * root[:, None], (profile * root)[:, None]
        ).solution[:, 0]
        if max_slope is not None:
            limit = float(max_slope * moments[0])
            moments[1] = limit * math.tanh(float(moments[1]) / limit)
        if monotonic:
            limit = float(moments[1]) / 3
            moments[2] = limit * math.tanh(float(moments[2]) / limit)
        mean = float((occupancy * (profile - design @ moments).square()).sum())
        total += mean * float(upper - s)
    return total


# --- closed forms


@pytest.mark.parametrize(("order", "exact"), [(0, 1 / 6), (1, 1 / 15), (2, 3 / 70)])
def test_score_fixed_by_the_mass(order: int, exact: float) -> None:
    m = grid(65_536)
    values = {
        bins: float(moment_decomposition((m + 1) / 2, m, order=order, bins=bins, bounds=(-1, 1)))
        for bins in (32, 256)
    }
    for bins, value in values.items():
        assert value == pytest.approx(exact - 1 / (6 * bins), abs=0.15 / bins**2 + 1e-6)
    assert (256 * values[256] - 32 * values[32]) / 224 == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize(("order", "exact"), [(0, 0.8**2 / 90), (1, 0.0), (2, 0.0)])
def test_linear_profile(order: int, exact: float) -> None:
    value = float(moment_decomposition(*tilted(0.8), order=order, bounds=(-1, 1)))
    # F is linear within a bin: < m^2 > is lower by 1 / bins^2; 16 masses per bin, 1024 scores
    assert value == pytest.approx(exact * (1 - 1 / 32**2), abs=2e-7)


@pytest.mark.parametrize("limit", [0.1, 0.5, 2.0])
def test_limited_slope(limit: float) -> None:
    s = (grid(4096) + 1) / 2
    slope = 0.8 * s * (1 - s)
    residual = slope - limit * s * torch.tanh(slope / (limit * s))
    expected = float(residual.square().mean()) / 3
    value = moment_decomposition(*tilted(0.8), order=1, max_slope=limit, bounds=(-1, 1))
    assert float(value) == pytest.approx(expected, rel=5e-3, abs=2e-7)


def test_monotonic_parabola() -> None:
    m = grid(32).repeat_interleave(4096)
    u = ((grid(4096) + 1) / 2).repeat(32)
    centred = (m.square() - 1 / 3) * 3 / 2
    for linear, quadratic in ((0.3, 0.05), (0.1, 0.4), (0.0, 0.4)):
        # F_m(s) = s + t s (1 - s) with t = linear P_1 + quadratic P_2
        tilt = linear * m + quadratic * centred
        score = 2 * u / (1 + tilt + torch.sqrt((1 + tilt).square() - 4 * tilt * u))
        free = float(moment_decomposition(score, m, order=2, bounds=(-1, 1)))
        bound = float(moment_decomposition(score, m, order=2, monotonic=True, bounds=(-1, 1)))
        kept = linear / 3 * math.tanh(3 * quadratic / linear) if linear else 0.0
        # < P_2^2 > = 1/5, integral of s^2 (1 - s)^2 = 1/30
        assert free == pytest.approx(0.0, abs=1e-6)
        assert bound == pytest.approx((quadratic - kept) ** 2 / 150, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_equals_the_definition(shape: dict[str, Any], is_weighted: bool) -> None:
    score, mass, weight = sample(96, seed=1)
    weight = weight if is_weighted else torch.ones_like(weight)
    value = moment_decomposition(score, mass, weight=weight, bins=8, **shape)
    expected = naive(score, mass, weight, bins=8, **shape)
    assert expected > 1e-4
    assert float(value) == pytest.approx(expected, abs=1e-12)


# --- gradients


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_against_finite_differences(shape: dict[str, Any]) -> None:
    score, mass, weight = sample(60, seed=2)
    assert float(score.sort().values.diff().min()) > 1e-5  # no score crosses another one

    def penalty(score: Tensor) -> Tensor:
        return moment_decomposition(score, mass, weight=weight, bins=6, **shape)

    assert torch.autograd.gradcheck(penalty, (score.requires_grad_(),), atol=1e-9, rtol=1e-7)


def test_tied_scores_move_together() -> None:
    score, mass, weight = sample(60, seed=3)
    group = (10 * score).round().long()
    score = 0.05 + 0.09 * group.double()
    shift = torch.zeros(11, dtype=torch.float64, requires_grad=True)

    def penalty(shift: Tensor) -> Tensor:
        return moment_decomposition(score + shift[group], mass, weight=weight, bins=6)

    assert torch.autograd.gradcheck(penalty, (shift,), atol=1e-9, rtol=1e-7)
    leaf = score.clone().requires_grad_()
    value = moment_decomposition(leaf, mass, weight=weight, bins=6)
    (gradient,) = torch.autograd.grad(value, leaf)
    for number in torch.unique(group):
        per_weight = (gradient / weight)[group == number]
        assert float((per_weight.max() - per_weight.min()).abs()) < 1e-12


def test_nuisance_gets_no_gradient() -> None:
    score, mass, _ = sample(100, seed=4)
    value = moment_decomposition(score.requires_grad_(), mass.requires_grad_())
    gradients = torch.autograd.grad(value, (score, mass), allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None


def test_descent_flattens_the_efficiency() -> None:
    generator = torch.Generator().manual_seed(5)
    mass, noise = torch.randn(2, 2000, generator=generator, dtype=torch.float64)
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([slope], lr=0.05)
    for _ in range(100):
        score = torch.sigmoid(noise + (0.8 - slope) * mass)
        (slope.grad,) = torch.autograd.grad(moment_decomposition(score, mass, bins=8), slope)
        optimiser.step()
    # the noise has width 1 and the mass too: the slope is known to 1 / sqrt(n)
    assert float(slope.detach()) == pytest.approx(0.8, abs=6 / math.sqrt(2000))


# --- statistics


@pytest.mark.parametrize("order", [0, 1, 2])
def test_without_the_floor_an_independent_pair_costs_nothing(order: int) -> None:
    generator = torch.Generator().manual_seed(5)
    found = {True: [], False: []}  # type: dict[bool, list[float]]
    for _ in range(200):
        score, mass, weight = torch.rand(3, 500, generator=generator, dtype=torch.float64)
        for unbiased, values in found.items():
            value = moment_decomposition(
                score, mass, weight=weight.square(), order=order, unbiased=unbiased
            )
            values.append(float(value))
    mean, floor = (torch.tensor(found[unbiased]).mean() for unbiased in (True, False))
    error = torch.tensor(found[True]).std() / math.sqrt(200)
    assert abs(mean) < 4 * error
    assert floor > 20 * error


def test_what_is_subtracted_is_the_variance_of_each_bin() -> None:
    """Order 0, against the mean product of different entries of each bin."""
    score, mass, _ = sample(60, seed=9)
    groups = torch.argsort(mass).view(4, 15)  # of equal occupancy
    steps = torch.cat((score.sort().values, torch.ones(1, dtype=torch.float64)))
    low, high = float(mass.min()), float(mass.max())
    total = 0.0
    inner = [(mass[a[-1]] + mass[b[0]]) / 2 for a, b in itertools.pairwise(groups)]
    width = torch.tensor([low, *inner, high], dtype=torch.float64).diff() / (high - low)
    for s, upper in itertools.pairwise(steps):
        below = (score[groups] <= s).double()
        profile = below.mean(1)
        product = torch.outer(profile, profile)
        different = below.sum(1).square() - below.square().sum(1)
        product.diagonal().copy_(different / (15 * 14))
        # <F^2> - 2 c <F> + c^2, with c the mean over the range
        value = product.diagonal().mean() - 2 * (width @ product).mean() + width @ product @ width
        total += float(value * (upper - s))
    found = moment_decomposition(score, mass, order=0, bins=4, unbiased=True)
    assert float(found) == pytest.approx(total, rel=1e-9)
    assert float(moment_decomposition(score, mass, order=0, bins=4)) > float(found)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_without_the_floor(shape: dict[str, Any]) -> None:
    score, mass, weight = sample(40, seed=3)
    score.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: moment_decomposition(x, mass, weight=weight, bins=5, unbiased=True, **shape),
        score,
        eps=1e-7,
    )


def test_bins_of_one_entry_subtract_nothing() -> None:
    score, mass, _ = sample(8, seed=4)
    both = [moment_decomposition(score, mass, bins=8, unbiased=yes) for yes in (True, False)]
    assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-12)


def test_only_the_floor_presses_the_scores_together() -> None:
    """Along a change of all scores by a factor, the slope is the penalty itself."""
    generator = torch.Generator().manual_seed(8)
    slopes: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(100):
        score, mass = torch.rand(2, 500, generator=generator, dtype=torch.float64)
        for unbiased, values in slopes.items():
            factor = torch.ones((), dtype=torch.float64, requires_grad=True)
            moment_decomposition(factor * score, mass, unbiased=unbiased).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            assert factor.grad is not None
            values.append(float(factor.grad))
    with_floor, without = (torch.tensor(slopes[unbiased]) for unbiased in (False, True))
    assert abs(without.mean()) < 4 * without.std() / 10
    assert with_floor.mean() > 20 * with_floor.std() / 10


def test_floor_of_an_independent_pair() -> None:
    generator = torch.Generator().manual_seed(6)
    n, values = 1024, []
    for _ in range(200):
        score, mass = torch.rand(2, n, generator=generator, dtype=torch.float64)
        values.append(moment_decomposition(score, mass, bounds=(0, 1)))
    error = float(torch.stack(values).std()) / math.sqrt(200)
    mean = float(torch.stack(values).mean())
    # the bins' widths fluctuate by 1 / sqrt(n / bins), which adds a part of 1 / n relatively
    assert mean == pytest.approx(31 / (6 * n), abs=4 * error + 31 / (6 * n) * 2 / 32)
    assert error < 0.02 * mean
    tilted_value = float(moment_decomposition(*tilted(0.9, masses=64, scores=64)))
    assert tilted_value > mean + 20 * error


def test_higher_orders_forgive_more() -> None:
    score, mass, weight = sample(4000, seed=7)
    uniform = torch.sqrt(mass - 50)
    flat, linear, quadratic, limited, *_ = (
        float(moment_decomposition(score, uniform, weight=weight, **shape)) for shape in SHAPES
    )
    assert flat > limited > linear > 1.5 * quadratic > 0


# --- invariances


@pytest.mark.parametrize("shape", SHAPES)
def test_order_shift_and_scales_do_not_matter(shape: dict[str, Any]) -> None:
    score, mass, weight = sample(500, seed=8)
    expected = moment_decomposition(score, mass, weight=weight, **shape)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(9))
    for s, m, w in (
        (score[order], mass[order], weight[order]),
        (score, mass / 1000 - 7, weight),
        (score, mass, 1e-30 * weight),
    ):
        value = moment_decomposition(s, m, weight=w, **shape)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)


def test_order_does_not_matter_with_ties() -> None:
    score, mass, _ = sample(300, seed=10)
    vertices = (mass / 25).floor()  # 10 values in 32 bins
    score = (20 * score).round() / 20
    expected = moment_decomposition(score, vertices, order=1)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(11))
    value = moment_decomposition(score[order], vertices[order], order=1)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    assert float(expected) > 1e-3


def test_entries_on_the_edge_of_a_bin() -> None:
    score, mass, _ = sample(48, seed=12)  # 1.5 entries per bin: every third one is on an edge
    expected = moment_decomposition(score, mass)
    for factor in (0.1, 1 / 3, 7.0):
        weight = torch.full_like(mass, factor)
        torch.testing.assert_close(
            moment_decomposition(score, mass, weight=weight), expected, rtol=0, atol=1e-12
        )


def test_weight_zero_is_absence() -> None:
    score, mass, weight = sample(300, seed=13)
    weight = weight * (weight > 0.4)
    kept = weight > 0
    hidden = torch.where(kept, score, 7.0), torch.where(kept, mass, 1e6)
    value = moment_decomposition(*hidden, weight=weight, bounds=(0, 400))
    expected = moment_decomposition(score[kept], mass[kept], weight=weight[kept], bounds=(0, 400))
    assert float(value) == float(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_tiny_weights_and_distances(shape: dict[str, Any]) -> None:
    score, mass, weight = sample(200, seed=23)
    weight[::3] *= 1e-25
    mass[::2] = 50.0
    mass[1::4] = 50.0 + 1e-13  # in other bins, yet at the same place
    value = moment_decomposition(score.requires_grad_(), mass, weight=weight, **shape)
    (gradient,) = torch.autograd.grad(value, score)
    assert float(value.detach()) > 1e-4
    assert bool(torch.isfinite(gradient).all())


def test_several_nuisances_are_averaged() -> None:
    score, mass, weight = sample(300, seed=14)
    vertices = (100 * weight).floor()
    both = torch.stack((mass, vertices), dim=1)
    parts = [moment_decomposition(score, column, order=1, weight=weight) for column in both.T]
    value = moment_decomposition(score, both, order=1, weight=weight)
    torch.testing.assert_close(value, torch.stack(parts).mean(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        moment_decomposition(score, mass[:, None], order=1, weight=weight), parts[0]
    )


def test_result_has_the_dtype_of_the_score() -> None:
    score, mass, _ = sample(300, seed=15)
    leaf = score.float().requires_grad_()
    value = moment_decomposition(leaf, mass)
    assert value.dtype == torch.autograd.grad(value, leaf)[0].dtype == torch.float32
    expected = float(moment_decomposition(score.float().double(), mass))
    assert float(value.detach()) == pytest.approx(expected, rel=6e-8)
    labels = (score > score.mean()).long()
    assert moment_decomposition(labels, mass).dtype == torch.float64


# --- bad input


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("constant", [0, 1])
def test_constant_gives_zero_with_zero_gradient(shape: dict[str, Any], constant: int) -> None:
    arrays = list(sample(100, seed=16)[:2])
    arrays[constant] = torch.full_like(arrays[constant], 1 / 3)
    score, mass = arrays
    value = moment_decomposition(score.requires_grad_(), mass, **shape)
    (gradient,) = torch.autograd.grad(value, score)
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-14)
    assert float(gradient.abs().max()) < 1e-14


def test_two_values_of_the_nuisance() -> None:
    score, mass, _ = sample(100, seed=17)
    heavy = (mass > 120).double()
    assert float(moment_decomposition(score, heavy)) > 1e-3
    for order in (1, 2):  # a line goes through two points
        assert float(moment_decomposition(score, heavy, order=order)) == pytest.approx(0, abs=1e-14)


def test_fewer_entries_than_bins() -> None:
    score, mass, weight = sample(40, seed=18)
    weight = weight * (torch.arange(40) < 31)
    with pytest.raises(DataError, match="31 entries of positive weight for 32 bins"):
        moment_decomposition(score, mass, weight=weight)
    for rows in (0, 1):
        with pytest.raises(DataError, match=f"{rows} entries of positive weight"):
            moment_decomposition(score[:rows], mass[:rows])
    assert math.isfinite(float(moment_decomposition(score[:32], mass[:32], order=2)))


def test_score_must_be_a_probability() -> None:
    score, mass, _ = sample(100, seed=19)
    with pytest.raises(DataError, match=r"score reaches from -.* must be in \[0, 1\]"):
        moment_decomposition(torch.logit(score), mass)


def test_nuisance_outside_its_bounds() -> None:
    score, mass, _ = sample(100, seed=20)
    with pytest.raises(DataError, match=r"nuisance reaches from .* the bounds are \(60, 200\)"):
        moment_decomposition(score, mass, bounds=(60, 200))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"order": 3}, "order is 3; it must be 0, 1 or 2"),
        ({"order": -1}, "order is -1"),
        ({"order": 2, "bins": 3}, "bins is 3; order 2 needs at least 4"),
        ({"max_slope": 0.5}, "max_slope is 0.5 at order 0"),
        ({"order": 1, "max_slope": 0.0}, "max_slope is 0.0"),
        ({"order": 1, "max_slope": math.nan}, "max_slope is nan"),
        ({"order": 1, "monotonic": True}, "monotonic at order 1"),
        ({"bounds": (300.0, 50.0)}, r"bounds are \(300.0, 50.0\)"),
        ({"bounds": (0.0, math.inf)}, "bounds are"),
    ],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    score, mass, _ = sample(100, seed=21)
    with pytest.raises(ConfigError, match=problem):
        moment_decomposition(score, mass, **options)


def test_bounds_are_for_one_nuisance() -> None:
    score, mass, _ = sample(100, seed=22)
    with pytest.raises(ConfigError, match="bounds for 2 nuisances"):
        moment_decomposition(score, torch.stack((mass, mass), dim=1), bounds=(0, 1000))
