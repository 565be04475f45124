from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError
from hepcalib.losses.leaky_gaussian_kernel import leaky_gaussian_kernel
from hepcalib.models.heads import PointHead

DOUBLE = torch.float64
ROWS = 4001


def exponential() -> Tensor:
    """An exponential distribution as its quantiles: mean 1, median ln 2, p-quantile -ln(1-p)."""
    p = (torch.arange(ROWS, dtype=DOUBLE) + 0.5) / ROWS
    return -torch.log1p(-p)


def fitted(head: PointHead, target: Tensor, *, steps: int = 60) -> float:
    """The value that minimises the mean loss, by golden section: all losses here are convex."""
    low, high = 0.0, 4.0
    ratio = (math.sqrt(5.0) - 1.0) / 2.0

    def loss(raw: float) -> float:
        density: Tensor = head(torch.full((1, 1), raw, dtype=DOUBLE)).log_prob(target)
        return -density.mean().item()

    for _ in range(steps):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    value: Tensor = head(torch.full((1, 1), low, dtype=DOUBLE)).mean
    return value.item()


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"loss": "mse"}, 1.0),
        ({"loss": "mae"}, math.log(2.0)),
        ({"loss": "pinball"}, math.log(2.0)),
        ({"loss": "pinball", "probability": 0.84}, -math.log(0.16)),
    ],
)
def test_the_best_value_is_the_location_of_the_loss(
    keywords: dict[str, Any], expected: float
) -> None:
    # neighbouring quantiles near p = 0.84 are 1 / (0.16 ROWS) = 1.6e-3 apart
    assert fitted(PointHead(**keywords), exponential()) == pytest.approx(expected, abs=2e-3)
    others = {1.0, math.log(2.0), -math.log(0.16)} - {expected}
    assert all(abs(expected - other) > 0.1 for other in others)


def test_a_relative_squared_residual_weighs_the_targets() -> None:
    # for ln y ~ N(0, s^2) the minimum of E[(v/y - 1)^2] is E[1/y] / E[1/y^2] = exp(-3 s^2 / 2)
    p = (torch.arange(ROWS, dtype=DOUBLE) + 0.5) / ROWS
    target = (0.3 * torch.special.ndtri(p)).exp()
    head = PointHead("mse", shift=0.5, scale=0.25, relative=True)
    expected = (1 / target).mean() / (1 / target**2).mean()
    assert fitted(head, target) == pytest.approx(expected.item(), rel=1e-6)
    assert fitted(head, target) == pytest.approx(math.exp(-1.5 * 0.09), rel=2e-3)


def test_shift_and_scale_place_the_value() -> None:
    raw = torch.tensor([[0.0], [0.01]], dtype=DOUBLE)
    plain = PointHead("mse", shift=0.9, scale=0.3)(raw).mean
    relative = PointHead("mse", shift=0.9, scale=0.3, relative=True)(raw).mean
    assert plain.tolist() == pytest.approx([0.9, 0.903])
    assert relative.tolist() == pytest.approx([0.9, 0.903], abs=1e-5)


def test_relative_values_are_positive_whatever_the_network_says() -> None:
    raw = torch.tensor([[-500.0], [-3.0], [500.0]])
    value = PointHead("mse", shift=0.9, scale=0.3, relative=True)(raw).mean
    assert (value > 0).all()
    assert value.isfinite().all()
    assert PointHead("mse", shift=0.9, scale=0.3)(raw).mean.min() < 0


def test_the_kernel_acts_on_the_ratio() -> None:
    head = PointHead(h=0.1, alpha=0.05, shift=0.9, relative=True)
    target = torch.tensor([0.8, 0.9, 1.4], dtype=DOUBLE)
    found = head(torch.zeros(3, 1, dtype=DOUBLE)).log_prob(target)
    expected = -leaky_gaussian_kernel(0.9 / target - 1, h=0.1, alpha=0.05)
    torch.testing.assert_close(found, expected)


def test_the_leak_ends_after_its_steps_of_training() -> None:
    head, raw, target = PointHead(leak_steps=2), torch.zeros(1, 1), torch.full((1,), 30.0)
    losses = [-head(raw).log_prob(target).item() for _ in range(4)]
    assert losses == pytest.approx([1.5, 1.5, 0.0, 0.0])
    again = PointHead(leak_steps=2).eval()  # predictions are no training steps
    assert [-again(raw).log_prob(target).item() for _ in range(4)] == pytest.approx([1.5] * 4)
    forever = PointHead()
    assert [-forever(raw).log_prob(target).item() for _ in range(4)] == pytest.approx([1.5] * 4)


def test_members_share_the_targets() -> None:
    head = PointHead("mae")
    assert head(torch.zeros(5, 7, 1)).log_prob(torch.ones(7)).shape == (5, 7)


def test_gradient_is_that_of_finite_differences() -> None:
    raw = torch.tensor([[0.1], [-0.4]], dtype=DOUBLE, requires_grad=True)
    target = torch.tensor([0.8, 1.3], dtype=DOUBLE)
    for head in (PointHead(shift=0.9, relative=True), PointHead("mse"), PointHead("mae")):
        assert torch.autograd.gradcheck(lambda x, h=head: h(x).log_prob(target), (raw,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "mes"}, "unknown loss 'mes'.*Did you mean 'mse'"),
        ({"h": 0.0}, "h is 0.0; needed: above 0"),
        ({"alpha": -1.0}, "alpha is -1.0; needed: at least 0"),
        ({"leak_steps": -1}, "leak_steps is -1; needed: at least 0, or None"),
        ({"probability": 1.0}, "probability is 1.0; needed: above 0, below 1"),
        ({"relative": True}, "shift is 0.0; needed: above 0, as relative"),
    ],
)
def test_impossible_keywords_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PointHead(**wrong)
