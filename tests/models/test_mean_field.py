from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hepcalib.models.mean_field import MeanFieldLinear

ROWS = 40_000


def layer(*, inputs: int = 3, outputs: int = 2, shared: bool = False) -> MeanFieldLinear:
    torch.manual_seed(1)
    linear = nn.Linear(inputs, outputs)
    made = MeanFieldLinear(linear, initial_log_variance=0.0, shared=shared)
    with torch.no_grad():
        made.log_variance.uniform_(-2.0, 1.0)
    return made


def moments_agree(draws: Tensor, mean: Tensor, variance: Tensor) -> bool:
    """Whether mean and variance of the rows are those of normal numbers, to 5 standard errors."""
    error = (variance / len(draws)).sqrt()
    right_mean = (draws.mean(0) - mean).abs() < 5 * error
    right_variance = (draws.var(0) / variance - 1).abs() < 5 * math.sqrt(2 / len(draws))
    return bool(right_mean.all() and right_variance.all())


def weight_draws(made: MeanFieldLinear, x: Tensor, rows: int) -> Tensor:
    weights = made.sample(torch.randn(rows, *made.weight.shape))
    assert made.bias is not None
    return torch.einsum("roi,i->ro", weights, x) + made.bias


def test_local_reparametrisation_has_the_moments_of_weight_draws() -> None:
    made, x = layer(), torch.tensor([0.5, -2.0, 1.0])
    mean, variance = made.eval()(x), made.log_variance.exp() @ x.square()
    with torch.no_grad():
        assert moments_agree(made.train()(x.expand(ROWS, -1)), mean, variance)
        assert moments_agree(weight_draws(made, x, ROWS), mean, variance)
        made.log_variance.sub_(math.log(2))  # half the variance is noticed
        assert not moments_agree(made.train()(x.expand(ROWS, -1)), mean, variance)


def test_rows_are_independent_unless_they_share_a_draw() -> None:
    x = torch.ones(1000, 3)
    independent = layer().train()(x)
    assert len({tuple(row) for row in independent.tolist()}) == 1000
    correlation = torch.corrcoef(torch.stack([independent[:-1, 0], independent[1:, 0]]))[0, 1]
    assert correlation.abs() < 5 / math.sqrt(1000)
    shared = layer(shared=True).train()
    first, second = shared(x), shared(x)
    assert torch.equal(first, first[:1].expand(1000, -1))
    assert not torch.equal(first, second)


def test_a_shared_draw_has_the_same_moments_over_calls() -> None:
    made, x = layer(shared=True), torch.tensor([[0.5, -2.0, 1.0]])
    mean, variance = made.eval()(x)[0], made.log_variance.exp() @ x[0].square()
    made.train()
    with torch.no_grad():
        draws = torch.cat([made(x) for _ in range(4000)])
    assert moments_agree(draws, mean, variance)


def naive(made: MeanFieldLinear, x: Tensor) -> Tensor:
    variance = nn.functional.linear(x.square(), made.log_variance.exp())
    return variance.sqrt() * torch.randn_like(variance)


def test_gradients_are_finite_where_all_inputs_are_zero() -> None:
    made = layer().train()
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 2.0]], requires_grad=True)
    made(x).square().sum().backward()
    assert x.grad is not None
    assert made.log_variance.grad is not None
    assert x.grad.isfinite().all()
    assert made.log_variance.grad.isfinite().all()
    made.log_variance.grad.zero_()
    naive(made, x).square().sum().backward()  # type: ignore[no-untyped-call]
    assert not made.log_variance.grad.isfinite().all()


def test_gradient_of_the_noise_is_that_of_its_closed_form() -> None:
    made, x = layer(), torch.tensor([0.5, -2.0, 1.0])
    made.train()
    made(x.expand(ROWS, -1)).square().mean(0).sum().backward()
    assert made.log_variance.grad is not None
    expected = made.log_variance.detach().exp() * x.square()  # of E[z^2] = mean^2 + x^2 sigma^2
    # z^2 of a normal variable of this width has a relative error of about sqrt(2 / rows)
    assert ((made.log_variance.grad / expected - 1).abs() < 10 * math.sqrt(2 / ROWS)).all()


def test_evaluation_uses_the_means_or_the_drawn_weights() -> None:
    made, x = layer().eval(), torch.randn(5, 3)
    assert made.bias is not None
    assert torch.equal(made(x), nn.functional.linear(x, made.weight, made.bias))
    made.drawn = torch.ones(2, 3)
    torch.testing.assert_close(made(x), x.sum(1, keepdim=True) + made.bias)


def test_extreme_log_variances_are_clamped() -> None:
    made = layer()
    with torch.no_grad():
        made.log_variance[0] = 1e3
        made.log_variance[1] = -1e3
    assert made.clamped().tolist() == [[11.0] * 3, [-20.0] * 3]
    assert made.kl(1.0).isfinite()
    assert made.train()(torch.ones(4, 3)).isfinite().all()


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_divergence_of_known_weights(precision: float) -> None:
    linear = nn.Linear(2, 1, bias=False)
    made = MeanFieldLinear(linear, initial_log_variance=-9.0)
    with torch.no_grad():
        made.weight.zero_()
        made.log_variance.fill_(-9.0)
    expected = 0.5 * (precision * math.exp(-9.0) + 9.0 - 1.0 - math.log(precision))
    assert made.kl(precision).item() == pytest.approx(2 * expected, rel=1e-6)
    if precision == 1.0:
        assert made.kl(precision).item() == pytest.approx(2 * 4.0000617, rel=1e-7)
    assert made.bias is None
