from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import DataError
from hepcalib.losses import distance_correlation

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
# What dcor finds, an independent implementation; `make_dcor_values.py` beside it wrote the file.
DCOR: dict[str, dict[str, Any]] = json.loads(
    (HERE / "dcor_values.json").read_text(encoding="utf-8")
)


class Moments(NamedTuple):
    covariance: Tensor
    x_variance: Tensor
    y_variance: Tensor

    @property
    def correlation(self) -> Tensor:
        value: Tensor = self.covariance / torch.sqrt(self.x_variance * self.y_variance)
        return value


def naive(x: Tensor, y: Tensor, weight: Tensor | None = None) -> Moments:
    """The definition of the V-statistic, by matrices of all pairs."""
    w = torch.ones_like(x) if weight is None else weight
    w = w / w.sum()
    a, b = (x[:, None] - x).abs(), (y[:, None] - y).abs()

    def moment(a: Tensor, b: Tensor) -> Tensor:
        a_mean, b_mean = a @ w, b @ w
        return w @ (a * b) @ w + (w @ a_mean) * (w @ b_mean) - 2 * (w @ (a_mean * b_mean))

    return Moments(moment(a, b), moment(a, a), moment(b, b))


def projected(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """The weighted U-statistic from its definition, centred by weighted least squares."""
    n = len(x)
    off_diagonal = ~torch.eye(n, dtype=torch.bool)
    row, column = torch.nonzero(off_diagonal, as_tuple=True)
    root = torch.sqrt(weight[row] * weight[column])
    design = torch.zeros(len(row), n, dtype=x.dtype)
    design[torch.arange(len(row)), row] += 1
    design[torch.arange(len(row)), column] += 1

    def centred(values: Tensor) -> Tensor:
        distances = (values[:, None] - values).abs()[off_diagonal] * root
        fit: Tensor = torch.linalg.lstsq(design * root[:, None], distances[:, None]).solution[:, 0]
        return distances - root * (design @ fit)

    a, b = centred(x), centred(y)
    return (a @ b) / torch.sqrt((a @ a) * (b @ b))


def normal_pair(n: int, correlation: float, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(2, n, generator=generator, dtype=torch.float64)
    return x, correlation * x + math.sqrt(1 - correlation**2) * z


def sample(n: int, *, seed: int, has_ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """A dependent pair with offsets and scales, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    x, z, weight = torch.rand(3, n, generator=generator, dtype=torch.float64)
    y = (x - 0.3).square() + 0.2 * z
    if has_ties:
        x, y = (6 * x).floor(), (9 * y).floor()
    return 0.1 * x + 5, 200 * y - 40, 7 * weight * (weight > 0.1)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def closed_form(r: float) -> float:
    """Squared distance correlation of the bivariate normal with correlation r (V36)."""
    covariance = (
        r * math.asin(r) + math.sqrt(1 - r**2) - r * math.asin(r / 2) - math.sqrt(4 - r**2) + 1
    )
    return covariance / (1 + math.pi / 3 - math.sqrt(3))


# --- closed forms


@pytest.mark.parametrize(
    ("x", "y", "weight", "moments", "correlation"),
    [
        ((0, 1, 3), (0, 2, 1), (1, 1, 1), (4 / 9, 32 / 27, 40 / 81), 0.5809475),
        ((0, 1, 3), (0, 2, 1), (1, 2, 1), (23 / 64, 49 / 64, 33 / 64), 0.5719694),
        ((0, 1, 2, 4), (1, 0, 3, 2), (1, 1, 1, 1), (21 / 32, 89 / 64, 13 / 16), 0.6173801),
    ],
)
def test_small_samples(
    x: tuple[float, ...],
    y: tuple[float, ...],
    weight: tuple[float, ...],
    moments: tuple[float, float, float],
    correlation: float,
) -> None:
    exact = moments[0] / math.sqrt(moments[1] * moments[2])
    assert exact == pytest.approx(correlation, abs=5e-8)
    value = distance_correlation(column(*x), column(*y), weight=column(*weight))
    assert float(value) == pytest.approx(exact, abs=1e-12)
    # the oracle of the other tests
    found = naive(column(*x), column(*y), column(*weight))
    assert [float(moment) for moment in found] == pytest.approx(moments, abs=1e-12)


def test_binary_pair_is_phi_squared() -> None:
    x, y, weight = column(0, 0, 1, 1), column(0, 1, 0, 1), column(0.3, 0.1, 0.15, 0.45)
    phi_squared = (0.3 * 0.45 - 0.1 * 0.15) ** 2 / (0.4 * 0.6 * 0.45 * 0.55)
    value = distance_correlation(x, y, weight=weight)
    assert float(value) == pytest.approx(phi_squared, abs=1e-12)


def test_uniform_and_its_modulus() -> None:
    x = (torch.arange(4096, dtype=torch.float64) + 0.5) / 2048 - 1
    assert float(distance_correlation(x, x.abs())) == pytest.approx(1 / 4, abs=1e-6)
    grid = (x[::8] + 1) / 2
    assert float(naive(grid, grid).x_variance) == pytest.approx(2 / 45, abs=1e-5)


@pytest.mark.parametrize(
    ("r", "expected"),
    [(0.1, 0.00794), (0.3, 0.07236), (0.5, 0.20623), (0.8, 0.56987), (0.95, 0.86511)],
)
def test_bivariate_normal(r: float, expected: float) -> None:
    assert closed_form(r) == pytest.approx(expected, abs=5e-6)
    batches, n = 10, 10_000
    values = torch.stack(
        [
            distance_correlation(*normal_pair(n, r, seed=100 + batch), unbiased=True)
            for batch in range(batches)
        ]
    )
    error = float(values.std()) / math.sqrt(batches)
    assert error < 0.003  # sharp enough to tell the correlations apart
    assert float(values.mean()) == pytest.approx(closed_form(r), abs=4 * error + 1 / n)


# --- against slow and foreign implementations


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("n", [2, 3, 16, 17, 100, 700])
def test_value_and_gradient_equal_the_definition(n: int, has_ties: bool) -> None:
    x, y, weight = sample(n, seed=n, has_ties=has_ties)
    x, y = x.requires_grad_(), y.requires_grad_()
    for w in (None, weight + 0.01, 1e9 * (weight + 0.01)):
        value, expected = distance_correlation(x, y, weight=w), naive(x, y, w).correlation
        if float(expected.detach().nan_to_num()) == 0.0:  # constant by chance
            assert float(value.detach()) == 0.0
            continue
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        # at a tie both take sgn(0) = 0
        gradient = torch.autograd.grad(value, (x, y))
        torch.testing.assert_close(
            gradient, torch.autograd.grad(expected, (x, y)), rtol=1e-10, atol=1e-11
        )


@pytest.mark.parametrize("name", DCOR)
def test_equals_dcor(name: str) -> None:
    case = DCOR[name]
    x, y = (torch.tensor(case[key], dtype=torch.float64) for key in ("x", "y"))
    for unbiased, kind in ((False, "biased"), (True, "unbiased")):
        value = float(distance_correlation(x, y, unbiased=unbiased))
        assert value == pytest.approx(case[kind], abs=1e-10)
    assert abs(case["biased"] - case["unbiased"]) > 1e-3


@pytest.mark.validation
def test_kept_values_are_those_of_dcor() -> None:
    command = [sys.executable, str(HERE / "make_dcor_values.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, Any]] = json.loads(made)
    assert found.keys() == DCOR.keys()
    for name, case in DCOR.items():
        assert found[name].keys() == case.keys()
        for key in case:
            made_now, kept = (
                torch.tensor(of[key], dtype=torch.float64) for of in (found[name], case)
            )
            assert torch.allclose(made_now, kept, rtol=0, atol=1e-12)


def test_one_nuisance_as_a_column_or_padded_to_two() -> None:
    x, y, weight = sample(200, seed=3, has_ties=True)
    results = []
    for nuisance in (y, y[:, None], torch.stack((y, torch.full_like(y, 3.0)), dim=1)):
        leaf = x.clone().requires_grad_()
        other = nuisance.clone().requires_grad_()
        value = distance_correlation(leaf, other, weight=weight)
        gradient, along = torch.autograd.grad(value, (leaf, other))
        assert along.shape == nuisance.shape
        results.append((value, gradient, along.reshape(200, -1)[:, 0]))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-12)


def test_weighted_unbiased_form_is_the_projection() -> None:
    x, y, weight = sample(25, seed=4)
    weight = weight + 0.05
    value = distance_correlation(x, y, weight=weight, unbiased=True)
    torch.testing.assert_close(value, projected(x, y, weight), rtol=0, atol=1e-10)
    equal = distance_correlation(x, y, weight=torch.full_like(x, 3.0), unbiased=True)
    torch.testing.assert_close(equal, distance_correlation(x, y, unbiased=True), rtol=0, atol=1e-12)
    assert abs(float(value - equal)) > 1e-3


def test_is_the_squared_distance_of_distribution_functions() -> None:
    x, y, weight = sample(60, seed=5, has_ties=True)
    w = weight / weight.sum()

    def covariance(x: Tensor, y: Tensor) -> Tensor:
        s, t = torch.unique(x), torch.unique(y)
        below_s, below_t = (x <= s[:, None]).double(), (y <= t[:, None]).double()
        excess = (below_s * w) @ below_t.T - torch.outer(below_s @ w, below_t @ w)
        cells = torch.outer(s.diff(), t.diff())
        total: Tensor = (excess[:-1, :-1].square() * cells).sum()
        return 4 * total

    expected = covariance(x, y) / torch.sqrt(covariance(x, x) * covariance(y, y))
    value = distance_correlation(x, y, weight=weight)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


# --- gradients


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("variables", [1, 2])
def test_gradient_against_finite_differences(variables: int, unbiased: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    x, weight = torch.rand(2, 12, generator=generator, dtype=torch.float64)
    y = torch.rand(12, variables, generator=generator, dtype=torch.float64) + x[:, None]
    for w in (None, weight):

        def penalty(x: Tensor, y: Tensor, w: Tensor | None = w) -> Tensor:
            return 3 * distance_correlation(x, y, weight=w, unbiased=unbiased)

        assert torch.autograd.gradcheck(penalty, (x.requires_grad_(), y.requires_grad_()))


def test_gradient_reaches_only_what_asks_for_it() -> None:
    x, y, weight = sample(50, seed=7)
    both = [v.clone().requires_grad_() for v in (x, y)]
    expected = torch.autograd.grad(distance_correlation(*both, weight=weight), both)
    for number in range(2):
        pair = [x.clone(), y.clone()]
        pair[number].requires_grad_()
        value = distance_correlation(*pair, weight=weight.clone().requires_grad_())
        (gradient,) = torch.autograd.grad(value, pair[number])
        torch.testing.assert_close(gradient, expected[number], rtol=1e-12, atol=1e-14)
    assert not distance_correlation(x, y).requires_grad


def test_second_derivative_is_refused() -> None:
    x, y, _ = sample(20, seed=8)
    x.requires_grad_()
    value = distance_correlation(x, y).square()
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(gradient.sum())


def test_descent_removes_the_dependence() -> None:
    x, y = normal_pair(500, 0.7, seed=9)
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([slope], lr=0.05)
    for _ in range(100):
        (slope.grad,) = torch.autograd.grad(distance_correlation(x - slope * y, y), slope)
        optimiser.step()
    assert float(slope.detach()) == pytest.approx(0.7, abs=4 * math.sqrt(0.51 / 500))


# --- statistics


def floor(kind: str, *, unbiased: bool, replicas: int = 150, n: int = 2048) -> Tensor:
    generator = torch.Generator().manual_seed(10)
    values = []
    for _ in range(replicas):
        if kind == "normal":
            x, y = torch.randn(2, n, generator=generator, dtype=torch.float64)
        else:
            x, y = torch.rand(2, n, generator=generator, dtype=torch.float64)
        values.append(distance_correlation(x, y, unbiased=unbiased))
    return torch.stack(values)


@pytest.mark.parametrize(("kind", "expected"), [("normal", 1.55e-3), ("uniform", 1.22e-3)])
def test_independent_pair(kind: str, expected: float) -> None:
    for unbiased, mean in ((False, expected), (True, 0.0)):
        values = floor(kind, unbiased=unbiased)
        error = float(values.std()) / math.sqrt(len(values))
        assert float(values.mean()) == pytest.approx(mean, abs=4 * error + 5e-6)
        assert error < 0.05 * expected


def test_dependent_pair_is_far_from_the_floor() -> None:
    x, z = normal_pair(2048, 0.0, seed=11)
    floors = floor("normal", unbiased=True, replicas=50)
    y = x.square() + z  # no linear correlation
    value = distance_correlation(x, y, unbiased=True)
    assert abs(float(torch.corrcoef(torch.stack((x, y)))[0, 1])) < 0.15
    assert float(value) > 20 * float(floors.std())


def test_unbiased_with_weights_that_depend_on_the_nuisance() -> None:
    generator = torch.Generator().manual_seed(12)
    unbiased, biased = [], []
    for _ in range(300):
        x, y = torch.randn(2, 200, generator=generator, dtype=torch.float64)
        weight = torch.exp(y)
        unbiased.append(distance_correlation(x, y, weight=weight, unbiased=True))
        biased.append(distance_correlation(x, y, weight=weight))
    error = float(torch.stack(unbiased).std()) / math.sqrt(300)
    assert float(torch.stack(unbiased).mean()) == pytest.approx(0.0, abs=4 * error)
    assert float(torch.stack(biased).mean()) > 20 * error


# --- invariances


def test_integer_weights_are_replication() -> None:
    x, y, _ = sample(80, seed=13, has_ties=True)
    generator = torch.Generator().manual_seed(14)
    times = torch.randint(0, 4, (80,), generator=generator)
    repeated = torch.repeat_interleave(torch.arange(80), times)
    expected = distance_correlation(x[repeated], y[repeated])
    torch.testing.assert_close(
        distance_correlation(x, y, weight=times), expected, rtol=0, atol=1e-12
    )
    assert abs(float(distance_correlation(x, y) - expected)) > 1e-4


@pytest.mark.parametrize("unbiased", [False, True])
def test_order_shift_and_scales_do_not_matter(unbiased: bool) -> None:
    x, y, weight = sample(300, seed=15)
    expected = distance_correlation(x, y, weight=weight, unbiased=unbiased)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(16))
    for a, b, w in (
        (x[order], y[order], weight[order]),
        (-3 * x + 1e3, 1e-6 * y, weight),
        (x, y, 1e-30 * weight),
        (y, x, weight),
    ):
        value = distance_correlation(a, b, weight=w, unbiased=unbiased)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)
    same = distance_correlation(x, 2 * x, weight=weight, unbiased=unbiased)
    assert float(same) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("variables", [1, 2])
def test_weight_zero_is_absence(variables: int, unbiased: bool) -> None:
    x, y, weight = sample(100, seed=17)
    nuisance = torch.stack((y, x**3), dim=1)[:, :variables]
    kept = weight > 0
    assert 0 < int(kept.sum()) < 100
    nuisance = torch.where(kept[:, None], nuisance, 1e4)  # whatever stands there
    x.requires_grad_()
    value = distance_correlation(x, nuisance, weight=weight, unbiased=unbiased)
    expected = distance_correlation(x[kept], nuisance[kept], weight=weight[kept], unbiased=unbiased)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(value, x)
    assert bool((gradient[~kept] == 0).all())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0], rtol=1e-8, atol=1e-10)


def test_result_has_the_dtype_of_the_score_and_the_digits_of_float64() -> None:
    x, y, weight = sample(1000, seed=18)
    expected = distance_correlation(x.float().double(), y.float().double(), weight=weight.float())
    leaf = x.float().requires_grad_()
    value = distance_correlation(leaf, y.float(), weight=weight.float())
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.dtype == gradient.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(expected), rel=6e-8)
    labels = (x > x.mean()).long()
    assert distance_correlation(labels, y).dtype == torch.float64


# --- where it is not defined


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("constant", ["score", "nuisance", "two nuisances"])
def test_constant_gives_zero_with_zero_gradient(constant: str, unbiased: bool) -> None:
    x, y, weight = sample(100, seed=19)
    third = torch.full_like(x, 1 / 3)
    x, y = (third, y) if constant == "score" else (x, third)
    if constant == "two nuisances":
        y = torch.stack((y, y), dim=1)
    x, y = x.requires_grad_(), y.requires_grad_()
    for w in (None, weight):
        value = distance_correlation(x, y, weight=w, unbiased=unbiased)
        assert float(value.detach()) == 0.0
        for gradient in torch.autograd.grad(value, (x, y)):
            assert bool((gradient == 0).all())


def test_constant_among_the_weighted_entries() -> None:
    weight = column(1, 1, 1, 0, 0)
    assert (
        float(distance_correlation(column(2, 2, 2, 5, 9), column(1, 2, 3, 4, 5), weight=weight))
        == 0.0
    )


def test_all_but_one_equal() -> None:
    x, y = column(0, 0, 0, 0, 1), column(3, 1, 4, 1, 5)
    assert float(distance_correlation(x, y)) == pytest.approx(
        float(naive(x, y).correlation), abs=1e-12
    )
    assert float(distance_correlation(x, y, unbiased=True)) == 0.0


@pytest.mark.parametrize(("unbiased", "least"), [(False, 2), (True, 4)])
def test_too_few_entries_give_zero(unbiased: bool, least: int) -> None:
    x, y = column(0, 1, 3, 4, 9), column(2, 7, 1, 8, 3)
    for n in range(least):
        weight = (torch.arange(5) < n).double()
        leaf = x.clone().requires_grad_()
        value = distance_correlation(leaf, y, weight=weight, unbiased=unbiased)
        assert float(value.detach()) == 0.0
        assert bool((torch.autograd.grad(value, leaf)[0] == 0).all())
        assert float(distance_correlation(x[:n], y[:n], unbiased=unbiased)) == 0.0
    assert float(distance_correlation(x[:least], y[:least], unbiased=unbiased)) != 0.0


def test_unbiased_needs_more_than_one_dominant_entry() -> None:
    x, y = column(0, 1, 3, 4, 9), column(2, 7, 1, 8, 3)
    with pytest.raises(DataError, match=r"entry 2 has 50\.0% of the total weight"):
        distance_correlation(x, y, weight=column(1, 1, 4, 1, 1), unbiased=True)


# --- cost


@pytest.mark.validation
def test_faster_than_the_definition() -> None:
    def seconds(function: Callable[[Tensor, Tensor], Tensor], repeats: int) -> float:
        times = []
        for seed in range(repeats):
            x, y = normal_pair(8192, 0.5, seed=seed)
            start = time.process_time()
            torch.autograd.grad(function(x.requires_grad_(), y), x)
            times.append(time.process_time() - start)
        return min(times)

    slow = seconds(lambda x, y: naive(x, y).correlation, 1)
    assert slow > 50 * seconds(distance_correlation, 5)


@pytest.mark.validation
def test_time_and_memory_of_many_entries() -> None:
    script = """
import resource, time, torch
from hepcalib.losses import distance_correlation
torch.set_num_threads(1)
def step(n):
    x, y = torch.randn(2, n, dtype=torch.float64)
    start = time.process_time()
    torch.autograd.grad(distance_correlation(x.requires_grad_(), y), x)
    return time.process_time() - start
step(100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = min(step(100_000) for _ in range(3))
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, mebibytes = map(float, run.stdout.split())
    assert seconds < 1.5
    assert mebibytes < 300
