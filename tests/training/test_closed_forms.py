"""Trainings whose result is known in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib import losses
from hepcalib.batch import Batch
from hepcalib.models import MLP, Bayesian, BernoulliHead, NormalHead
from hepcalib.training import Examples, PenaltyOptions, TrainingOptions, train

if TYPE_CHECKING:
    from hepcalib.models import Head

CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(features: int, head: Head) -> MLP:
    torch.manual_seed(8)
    return MLP(features=features, hidden=(), head=head)


def regression(rows: int, *, seed: int, noise: float = 0.5) -> Examples:
    """Target 1 + x . (2, -1, 0.5) + normal noise."""
    random = generator(seed)
    x = torch.randn(rows, 3, generator=random)
    y = 1 + x @ torch.tensor([2.0, -1.0, 0.5]) + noise * torch.randn(rows, generator=random)
    return Examples(Batch(features=x), y)


def coefficients(model: MLP) -> list[float]:
    """Intercept and slopes of the mean."""
    layer = model.network[-1]
    assert isinstance(layer, torch.nn.Linear)
    return [layer.bias[0].item(), *layer.weight[0].tolist()]


def ordinary_least_squares(examples: Examples) -> list[float]:
    assert examples.batch.features is not None
    design = torch.cat([torch.ones(len(examples.target), 1), examples.batch.features], dim=1)
    solution: list[float] = torch.linalg.lstsq(
        design.double(), examples.target.double()
    ).solution.tolist()
    return solution


def test_linear_regression_finds_least_squares_and_the_noise() -> None:
    rows, noise = 4000, 0.5
    examples, model = regression(rows, seed=10), linear(3, NormalHead())
    options = TrainingOptions(
        epochs=25, batch_size=500, learning_rate=0.1, schedule="cosine", **CPU
    )
    history = train(model, examples, examples, options=options)
    error = noise / math.sqrt(rows)
    # The log-variance is free, too: the mean moves by a fraction of its statistical error.
    assert coefficients(model) == pytest.approx(ordinary_least_squares(examples), abs=0.5 * error)
    with torch.no_grad():
        sigma = model(examples.batch).stddev
    assert sigma.mean().item() == pytest.approx(noise, abs=5 * noise / math.sqrt(2 * rows))
    expected = 0.5 + math.log(noise * math.sqrt(2 * math.pi))
    assert history.best.validation_nll == pytest.approx(expected, abs=5 * math.sqrt(0.5 / rows))


def test_too_short_a_training_does_not_find_them() -> None:
    examples, model = regression(4000, seed=10), linear(3, NormalHead())
    options = TrainingOptions(epochs=1, batch_size=500, learning_rate=0.05, **CPU)
    train(model, examples, regression(2000, seed=11), options=options)
    assert abs(coefficients(model)[1] - 2.0) > 0.5


def test_width_that_depends_on_the_input_is_recovered() -> None:
    random, rows = generator(12), 8000
    x = torch.rand(rows, 1, generator=random)
    y = torch.exp(-1 + x[:, 0]) * torch.randn(rows, generator=random)
    examples, model = Examples(Batch(features=x), y), linear(1, NormalHead())
    options = TrainingOptions(epochs=40, batch_size=1000, learning_rate=0.05, **CPU)
    train(model, examples, examples, options=options)
    layer = model.network[-1]
    assert isinstance(layer, torch.nn.Linear)
    # ln sigma^2 = -2 + 2x; var(ln chi^2) = 2 per row, x uniform
    slope_error = math.sqrt(2 / (rows / 12))
    assert layer.weight[1, 0].item() == pytest.approx(2.0, abs=5 * slope_error)


def two_gaussians(rows: int, *, seed: int) -> Examples:
    random = generator(seed)
    target = (torch.arange(rows) % 2).float()
    x = target + torch.randn(rows, generator=random)
    return Examples(Batch(features=x.unsqueeze(1)), target, background=target == 0)


def area_under_curve(score: torch.Tensor, target: torch.Tensor) -> float:
    ranks = torch.argsort(torch.argsort(score)).double() + 1
    signal, background = int(target.sum()), int((1 - target).sum())
    above = ranks[target == 1].sum() - signal * (signal + 1) / 2
    return (above / (signal * background)).item()


def test_tagger_of_two_gaussians_finds_the_likelihood_ratio() -> None:
    rows = 20_000
    model, test = linear(1, BernoulliHead()), two_gaussians(rows, seed=14)
    options = TrainingOptions(epochs=10, batch_size=1000, learning_rate=0.05, **CPU)
    train(model, two_gaussians(rows, seed=13), test, options=options)
    # ln p1/p0 = x - 1/2; the information per row is about p(1-p) = 0.2 times the variance of x
    assert coefficients(model) == pytest.approx([-0.5, 1.0], abs=5 / math.sqrt(0.2 * rows))
    with torch.no_grad():
        area = area_under_curve(model(test.batch).mean, test.target)
    exact = NormalDist().cdf(1 / math.sqrt(2))  # 0.76025
    assert area == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / (rows / 2)))


def three_gaussians(rows: int, *, seed: int) -> Examples:
    """The toy of arXiv:2007.14400: x1 gives the nuisance away in the background."""
    random = generator(seed)
    target = (torch.arange(rows) % 2).float()
    normal = torch.randn(rows, 3, generator=random)
    mass = 1.5 * normal[:, 0]
    correlated = 1.5 * (-0.8 * normal[:, 0] + 0.6 * normal[:, 1])
    background = torch.stack([mass, correlated, 1.5 * normal[:, 2]], dim=1)
    signal = torch.tensor([2.5, 2.5, 2.0]) + 1.5 * normal
    x = torch.where(target.unsqueeze(1) == 1, signal, background)
    return Examples(
        Batch(features=x[:, 1:]), target, nuisance=x[:, 0].contiguous(), background=target == 0
    )


def dependence(strength: float) -> tuple[float, float]:
    """Distance correlation of the background and area under the curve after a training."""
    torch.manual_seed(15)
    model = MLP(features=2, hidden=(32, 32), head=BernoulliHead())
    options = TrainingOptions(
        epochs=12,
        batch_size=1000,
        learning_rate=5e-3,
        penalty=PenaltyOptions(name="distance_correlation", strength=strength, warmup_epochs=2),
        **CPU,
    )
    test = three_gaussians(8000, seed=17)
    train(model, three_gaussians(8000, seed=16), three_gaussians(4000, seed=18), options=options)
    with torch.no_grad():
        score = model(test.batch).mean
    assert test.nuisance is not None
    mask = test.target == 0
    correlation = losses.distance_correlation(score[mask], test.nuisance[mask], unbiased=True)
    return correlation.item(), area_under_curve(score, test.target)


def test_penalty_decorrelates_and_strength_zero_does_not() -> None:
    plain, plain_area = dependence(0.0)
    penalised, penalised_area = dependence(20.0)
    # the exact values are 0.3300 and 0.9344 without a penalty; without any dependence 0.8271
    assert plain == pytest.approx(0.33, abs=0.05)
    assert plain_area == pytest.approx(0.9344, abs=0.01)
    assert penalised < 0.1 * plain
    assert 0.80 < penalised_area < plain_area


def posterior_variance(rows: int) -> float:
    """Mean variance of the slopes of a Bayesian linear regression."""
    torch.manual_seed(19)
    plain = MLP(features=3, hidden=(), head=NormalHead())
    model = Bayesian(plain, prior_precision=1e-3, initial_log_variance=-9.0)
    examples = regression(rows, seed=20)
    steps = 800
    options = TrainingOptions(
        epochs=steps * 200 // rows, batch_size=200, learning_rate=0.03, schedule="cosine", **CPU
    )
    train(model, examples, examples, options=options)
    log_variance = next(v for k, v in model.named_parameters() if k.endswith("log_variance"))
    return log_variance[0].exp().mean().item()


@pytest.mark.parametrize("rows", [400, 4000])
def test_bayesian_regression_has_the_exact_posterior(rows: int) -> None:
    """Independent inputs of unit variance: Var(slope) = s^2 / N, if KL is divided by N."""
    assert posterior_variance(rows) == pytest.approx(0.25 / rows, rel=0.25)


def test_weights_move_the_fit_and_negative_ones_cancel() -> None:
    random = generator(21)
    clean, extra = torch.randn(4000, generator=random), 5 + torch.randn(500, generator=random)
    target = torch.cat([clean, extra, extra])
    features = torch.zeros(len(target), 1)
    signs = torch.cat([torch.ones(4500), -torch.ones(500)])
    fitted = {}
    for name, weight in (("cancelled", signs), ("counted", torch.ones(5000))):
        model = linear(1, NormalHead())
        examples = Examples(Batch(features=features), target, weight=7.0 * weight)
        options = TrainingOptions(epochs=30, batch_size=1000, learning_rate=0.05, **CPU)
        train(model, examples, examples, options=options)
        fitted[name] = coefficients(model)[0]
    assert fitted["cancelled"] == pytest.approx(clean.mean().item(), abs=0.05)
    assert fitted["counted"] == pytest.approx(target.mean().item(), abs=0.05)
