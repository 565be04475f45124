from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hepcalib.losses import gaussian_kl
from hepcalib.models.mean_field import MeanFieldLinear, divergence, local_reparametrisation

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
    naive(made, x).square().sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert not made.log_variance.grad.isfinite().all()


def test_gradient_of_the_noise_is_that_of_its_closed_form() -> None:
    made, x = layer(), torch.tensor([0.5, -2.0, 1.0])
    made.train()
    made(x.expand(ROWS, -1)).square().mean(0).sum().backward()
    assert made.log_variance.grad is not None
    expected = made.log_variance.detach().exp() * x.square()  # of E[z^2] = mean^2 + x^2 sigma^2
    # z^2 of a normal variable of this width has a relative error of about sqrt(2 / rows)
    assert ((made.log_variance.grad / expected - 1).abs() < 10 * math.sqrt(2 / ROWS)).all()


def test_evaluation_uses_the_means_and_the_plain_layer_is_the_same() -> None:
    made, x = layer().eval(), torch.randn(5, 3)
    assert made.bias is not None
    assert torch.equal(made(x), nn.functional.linear(x, made.weight, made.bias))
    plain = made.plain()
    assert torch.equal(plain(x), made(x))
    assert plain.weight is made.weight
    assert plain.bias is made.bias
    without = MeanFieldLinear(nn.Linear(3, 2, bias=False), initial_log_variance=-2.0).plain()
    assert [name for name, _ in without.named_parameters()] == ["weight"]


@pytest.mark.parametrize(("outputs", "parts"), [(1, 1), (2, 2), (5, 5), (9, 8)])
def test_random_numbers_are_used_several_times_but_uncorrelated(outputs: int, parts: int) -> None:
    made, repeats, length = layer(outputs=outputs).train(), 2000, 2
    rows = parts * length - (parts > 1)  # the last part is shorter
    noise = torch.stack([made._noise(rows) for _ in range(repeats)])
    assert noise.shape == (repeats, rows, outputs)
    numbers = noise.flatten(1)
    assert moments_agree(numbers, torch.zeros(1), torch.ones(1))
    # Two numbers of the same size have a product of variance E[n^4] = 3.
    limit = 5 * math.sqrt(3 / repeats)
    assert (torch.corrcoef(numbers.T) - torch.eye(rows * outputs)).abs().max() < limit
    for row in range(length, rows):  # the sizes of the first part, other units of them
        shift, first = divmod(row, length)
        expected = noise[:, first].roll(-shift, 1).abs()
        torch.testing.assert_close(noise[:, row].abs(), expected)
        assert torch.corrcoef(torch.stack([noise[:, row, 0].abs(), expected[:, 0]]))[0, 1] > limit
    sizes = torch.stack([noise[:, row].abs() for row in range(rows)], dim=-1)
    for unit in range(outputs):  # the rows of a unit are independent, in their sizes too
        assert (torch.corrcoef(sizes[:, unit].T) - torch.eye(rows)).abs().max() < limit


def test_any_number_of_rows_and_dimensions() -> None:
    made = layer().train()
    for shape in ((0,), (1,), (3,), (2, 7), (2, 0)):
        assert made(torch.ones(*shape, 3)).shape == (*shape, 2)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_the_local_reparametrisation_are_exact(bias: bool) -> None:
    torch.manual_seed(2)
    x, weight, spread = torch.randn(5, 3), torch.randn(2, 3), torch.randn(2, 3)
    shift, noise = (torch.randn(2) if bias else None), torch.randn(5, 2).double()
    tensors = [x, weight, spread, *([] if shift is None else [shift])]
    inputs = [tensor.double().requires_grad_() for tensor in tensors]

    def drawn(x: Tensor, weight: Tensor, spread: Tensor, shift: Tensor | None = None) -> Tensor:
        return local_reparametrisation(x, weight, spread, bias=shift, noise=noise)

    assert torch.autograd.gradcheck(drawn, inputs)


def test_the_local_reparametrisation_is_its_formula_with_the_gradients_of_autograd() -> None:
    made, x, noise = layer(), torch.randn(6, 3, requires_grad=True), torch.randn(6, 2)
    with torch.no_grad():
        made.log_variance[0, 0], made.log_variance[1, 1] = 12.0, -21.0  # beyond the range
    parameters = [x, *made.parameters()]
    variance = nn.functional.linear(x.square(), made.clamped().exp())
    slow = nn.functional.linear(x, made.weight, made.bias) + variance.sqrt() * noise
    fast = local_reparametrisation(x, made.weight, made.log_variance, bias=made.bias, noise=noise)
    torch.testing.assert_close(fast, slow)
    upstream = torch.randn(6, 2)
    expected = torch.autograd.grad(slow, parameters, upstream)
    found = torch.autograd.grad(fast, parameters, upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
    assert found[2][0, 0] == found[2][1, 1] == 0.0


def test_gradients_of_frozen_parameters_are_not_computed() -> None:
    made = layer()
    made.log_variance.requires_grad_(False)
    made.train()(torch.randn(4, 3)).sum().backward()
    assert made.log_variance.grad is None
    assert made.weight.grad is not None


def test_extreme_log_variances_are_clamped() -> None:
    made = layer()
    with torch.no_grad():
        made.log_variance[0] = 1e3
        made.log_variance[1] = -1e3
    assert made.clamped().tolist() == [[11.0] * 3, [-20.0] * 3]
    assert divergence([made], 1.0).isfinite()
    assert made.train()(torch.ones(4, 3)).isfinite().all()


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_divergence_of_known_weights(precision: float) -> None:
    linear = nn.Linear(2, 1, bias=False)
    made = MeanFieldLinear(linear, initial_log_variance=-9.0)
    with torch.no_grad():
        made.weight.zero_()
        made.log_variance.fill_(-9.0)
    expected = 0.5 * (precision * math.exp(-9.0) + 9.0 - 1.0 - math.log(precision))
    assert divergence([made], precision).item() == pytest.approx(2 * expected, rel=1e-6)
    if precision == 1.0:
        assert divergence([made], precision).item() == pytest.approx(2 * 4.0000617, rel=1e-7)
    assert made.bias is None


def test_divergence_of_several_layers_is_the_sum_with_the_gradients_of_autograd() -> None:
    layers = [layer(), layer(inputs=4, outputs=5)]
    with torch.no_grad():
        layers[0].log_variance[0, 0], layers[1].log_variance[1, 1] = 12.0, -21.0
    parameters = [p for made in layers for p in (made.weight, made.log_variance)]
    slow = torch.stack([gaussian_kl(made.weight, made.clamped(), 3.0) for made in layers]).sum()
    fast = divergence(layers, 3.0)
    torch.testing.assert_close(fast, slow)
    expected = torch.autograd.grad(2.0 * slow, parameters)
    found = torch.autograd.grad(2.0 * fast, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_divergence_keeps_its_digits_where_the_posterior_is_the_prior() -> None:
    made = layer()
    with torch.no_grad():
        made.weight.zero_()
        made.log_variance.fill_(1e-3)  # (e^u - 1 - u) / 2 = u^2 / 4 for each of 6 weights
    assert divergence([made], 1.0).item() == pytest.approx(6 * 1e-6 / 4, rel=1e-3)


def test_gradient_of_the_divergence_has_its_closed_form() -> None:
    made, precision = layer().double(), 3.0
    divergence([made], precision).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert made.weight.grad is not None
    assert made.log_variance.grad is not None
    variance = made.log_variance.detach().exp()
    torch.testing.assert_close(made.weight.grad, precision * made.weight.detach())
    torch.testing.assert_close(made.log_variance.grad, 0.5 * (precision * variance - 1.0))
