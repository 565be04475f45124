from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepcalib.losses.sorted_sums import below_both, mean_distance, pulls, ranking, signed_sum


def sample(n: int, *, seed: int, levels: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Two dependent variables, with ties if levels are given, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    x, y, weight = torch.rand(3, n, generator=generator, dtype=torch.float64)
    y = y + x
    if levels is not None:
        x, y = (levels * x).floor(), (levels * y).floor()
    return x, y, weight * (weight > 0.1)


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 100, 257, 1000])
def test_below_both(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    order_x, order_y = (torch.randperm(n, generator=generator) for _ in range(2))
    values = torch.rand(3, n, generator=generator, dtype=torch.float64)
    x, y = torch.argsort(order_x), torch.argsort(order_y)
    both = (x < x[:, None]) & (y < y[:, None])
    expected = values @ both.to(values.dtype).T
    torch.testing.assert_close(
        below_both(values, order_x, order_y), expected, rtol=1e-13, atol=1e-13
    )


def test_below_both_of_extreme_orders() -> None:
    order = torch.arange(100)
    values = torch.ones(1, 100, dtype=torch.float64)
    assert below_both(values, order, order)[0].tolist() == list(range(100))
    assert below_both(values, order, order.flip(0))[0].tolist() == [0.0] * 100


def test_ranking_counts_smaller_and_equal() -> None:
    by = ranking(torch.tensor([2.0, 1.0, 2.0, 5.0, 1.0]))
    assert by.order.tolist() == [1, 4, 0, 2, 3]
    assert by.below.tolist() == [2, 0, 2, 4, 0]
    assert by.up_to.tolist() == [4, 2, 4, 5, 2]


def test_ranking_leaves_ties_in_the_given_order() -> None:
    within = torch.tensor([4, 3, 2, 1, 0])
    assert ranking(torch.tensor([2.0, 1.0, 2.0, 5.0, 1.0]), within=within).order.tolist() == [
        4, 1, 2, 0, 3,
    ]  # fmt: skip


@pytest.mark.parametrize("levels", [None, 5, 1])
def test_sums_over_one_variable(levels: int | None) -> None:
    x, _, weight = sample(300, seed=1, levels=levels)
    difference = x[:, None] - x
    by = ranking(x)
    torch.testing.assert_close(
        signed_sum(weight, by), difference.sign() @ weight, rtol=1e-13, atol=1e-11
    )
    torch.testing.assert_close(
        mean_distance(x, weight, by), difference.abs() @ weight, rtol=1e-13, atol=1e-11
    )


@pytest.mark.parametrize("levels", [None, 5, 1])
def test_pulls(levels: int | None) -> None:
    x, y, weight = sample(300, seed=2, levels=levels)
    by_x = ranking(x, within=ranking(y).order)
    by_y = ranking(y, within=by_x.order)
    in_x, in_y = x[:, None] - x, y[:, None] - y
    expected = ((in_y.abs() * in_x.sign()) @ weight, (in_x.abs() * in_y.sign()) @ weight)
    found = pulls(x, y, weight, by_x=by_x, by_y=by_y, both=True)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-11)
    (alone,) = pulls(x, y, weight, by_x=by_x, by_y=by_y, both=False)
    torch.testing.assert_close(alone, found[0], rtol=1e-13, atol=1e-11)
