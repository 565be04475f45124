from __future__ import annotations

import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import MixtureHead, NormalHead, build, describe, flow_likelihood
from hepcalib.models.flow_likelihood import FlowLikelihood
from hepcalib.models.model import Labelled
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from torch import Tensor

COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 2.0]])
DIRECTION = torch.tensor([1.0, -1.0])
SCALE = torch.tensor([3.2, 3.3])  # of the features, to standardise them
WIDTH = 0.6249
NLL = 3.0852


def correlated(rows: int, *, seed: int) -> Examples:
    """x|c ~ N(c (1, -1), S), c ~ N(0, 9)."""
    random = torch.Generator().manual_seed(seed)
    c = 3 * torch.randn(rows, generator=random)
    noise = torch.randn(rows, 2, generator=random) @ torch.linalg.cholesky(COVARIANCE).T
    return Examples(Batch((c.unsqueeze(1) * DIRECTION + noise) / SCALE), c)


def exact(examples: Examples) -> tuple[Tensor, Tensor]:
    """The estimates u'S^-1 x / u'S^-1 u, and -ln p(x|c), per row."""
    assert examples.batch.features is not None
    x = examples.batch.features * SCALE
    weight = torch.linalg.solve(COVARIANCE, DIRECTION)
    residual = x - examples.target.unsqueeze(1) * DIRECTION
    chi2 = (residual * torch.linalg.solve(COVARIANCE, residual.T).T).sum(1)
    constant = math.log(2 * math.pi) + 0.5 * math.log(torch.linalg.det(COVARIANCE).item())
    return x @ weight / (DIRECTION @ weight), 0.5 * chi2 + constant


def flow(features: int = 2, **keywords: Any) -> FlowLikelihood:
    torch.manual_seed(1)
    keywords = {"head": NormalHead(0.0, 3.0), "transforms": 1, "hidden": (16,), **keywords}
    return FlowLikelihood(features=features, **keywords).eval()


def stirred(model: FlowLikelihood) -> FlowLikelihood:
    """The model with weights that matter."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5 / parameter.shape[-1] ** 0.5)
    return model


def rows_of(count: int, features: int = 2) -> Batch:
    return Batch(torch.randn(count, features, generator=torch.Generator().manual_seed(3)))


def options(**keywords: Any) -> TrainingOptions:
    return TrainingOptions(device="cpu", threads=1, **keywords)


def test_linear_gaussian_features() -> None:
    training, test = correlated(10_000, seed=4), correlated(5_000, seed=5)
    model = flow(transforms=0, hidden=(), noise=0.0)  # exact for some weights
    before = model.peak(test.batch).estimate
    history = train(
        model, training, test, options=options(epochs=20, batch_size=200, learning_rate=0.1)
    )
    estimate, nll = exact(test)
    assert nll.mean().item() == pytest.approx(NLL, abs=5 * math.sqrt(1 / len(nll)))
    # the excess is p / 2N = 5e-4 for the ten parameters of the flow, if they have arrived
    excess = history.best.validation_nll + SCALE.log().sum().item() - nll.mean().item()
    assert abs(excess) < 0.02
    peak = model.peak(test.batch)
    inner = estimate.abs() < 6
    assert (peak.estimate - estimate)[inner].square().mean().sqrt().item() < 0.15 * WIDTH
    assert (before - estimate)[inner].square().mean().sqrt().item() > WIDTH
    assert peak.sigma[inner].mean().item() == pytest.approx(WIDTH, rel=0.05)
    pull = ((peak.estimate - test.target) / peak.sigma)[inner]
    assert pull.std().item() == pytest.approx(1.0, abs=0.05 + 5 / math.sqrt(2 * len(pull)))
    low, high = (value.item() for value in training.target.aminmax())
    assert (3 * model.range).tolist() == pytest.approx([low, high], rel=1e-5)
    assert peak.estimate.min().item() >= low - 1e-4
    assert peak.estimate.max().item() <= high + 1e-4


def measured(prior: float, *, seed: int) -> Examples:
    """x|z ~ N(z, 1), z ~ N(prior, 1)."""
    random = torch.Generator().manual_seed(seed)
    z = prior + torch.randn(20_000, generator=random)
    x = z + torch.randn(len(z), generator=random)
    return Examples(Batch(((x - 0.5) / 1.5).unsqueeze(1)), z)


def test_the_spectrum_of_the_training_sample_does_not_matter() -> None:
    x = torch.linspace(-0.5, 1.5, 21)
    found = []
    for prior in (0.0, 1.0):
        model = flow(1, transforms=0, hidden=(), head=NormalHead(0.5, 1.0), noise=0.0)
        chosen = options(epochs=10, batch_size=500, learning_rate=5e-2)
        train(model, measured(prior, seed=6), measured(prior, seed=7), options=chosen)
        found.append(model.peak(Batch(((x - 0.5) / 1.5).unsqueeze(1))).estimate)
        torch.testing.assert_close(found[-1], x, rtol=0, atol=0.1)
    shift = (found[1] - found[0]).mean().item()
    # sqrt(2 / N) = 0.01; the mean of the posterior shifts by e^2 / (s^2 + e^2) = 0.5
    assert abs(shift) < 5 * 0.01 < 0.5 / 3


def test_likelihood_is_normalised_and_the_default_loss_is_its_negative_logarithm() -> None:
    model = stirred(flow(1, transforms=2, noise=0.3))
    x = torch.linspace(-9, 9, 3001)
    likelihood = model(Batch(x.unsqueeze(1)))
    z = torch.full_like(x, 1.3)
    density = likelihood.log_prob(z).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(model.loss(likelihood, z), -likelihood.log_prob(z))
    noisy = model.train()(Batch(x.unsqueeze(1))).log_prob(z).exp()
    assert (noisy - density).abs().max() > 1e-3


def test_mean_and_width_are_those_of_members_and_of_the_likelihood_itself() -> None:
    model, batch = stirred(flow(transforms=2)), rows_of(40)
    likelihood = model(batch)
    members = model.head(model.member_outputs(batch))
    assert members.batch_shape == (1, 40)
    torch.testing.assert_close(members.mean[0], likelihood.mean)
    torch.testing.assert_close(members.stddev[0], likelihood.stddev)
    peak = model.peak(batch)
    torch.testing.assert_close(peak.estimate, likelihood.mean)
    top = likelihood.log_prob(peak.estimate)
    for z in torch.linspace(-15, 15, 200):  # the whole range
        assert (likelihood.log_prob(z.expand(40)) <= top + 0.1).all()


def test_rows_blocks_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = stirred(flow().double()), rows_of(30).to(dtype=torch.float64)
    target = torch.linspace(-3, 3, 30, dtype=torch.float64)
    outputs, log_prob = model.outputs(batch), model(batch).log_prob(target)
    for block in (1, 100, 1000):
        monkeypatch.setattr(flow_likelihood, "BLOCK", block)
        torch.testing.assert_close(model.outputs(batch), outputs, rtol=0, atol=1e-6)
        torch.testing.assert_close(model(batch).log_prob(target), log_prob)
    torch.testing.assert_close(model.outputs(batch.select(slice(7, 8)))[0], outputs[7])
    assert model.outputs(batch.select(slice(0, 0))).shape == (0, 2)
    with pytest.raises(ShapeError, match=r"needed: \(\.\.\., 2\)"):
        model.outputs(rows_of(3, 4))


def test_features_that_are_given_are_not_modelled() -> None:
    model = stirred(flow(3, modelled=1))
    x = torch.linspace(-9, 9, 3001).unsqueeze(1)
    target = torch.zeros(3001)
    for given in ((0.0, 0.0), (1.0, -2.0)):
        batch = Batch(torch.cat([x, torch.tensor(given).expand(3001, 2)], dim=1))
        density = model(batch).log_prob(target).exp()
        assert torch.trapezoid(density, x.squeeze(1)).item() == pytest.approx(1.0, abs=1e-3)
    first, second = rows_of(5, 3), rows_of(5, 3)
    assert second.features is not None
    second.features[:, 2] += 1.0
    assert (model.outputs(first) - model.outputs(second)).abs().max() > 1e-2


def spiked(rows: int) -> Examples:
    """A feature that is 0 with a probability of 1 / (1 + e^-z), else N(0, 1)."""
    random = torch.Generator().manual_seed(8)
    z = torch.randn(rows, generator=random)
    zero = torch.rand(rows, generator=random) < z.sigmoid()
    return Examples(Batch(torch.where(zero, 0.0, torch.randn(rows, generator=random))[:, None]), z)


def test_noise_keeps_the_density_of_a_discrete_value_finite() -> None:
    examples = spiked(6000)
    chosen = options(epochs=8, batch_size=300, learning_rate=1e-2)
    heights = {}
    for noise in (0.05, 0.0):
        model = flow(1, transforms=2, head=NormalHead(), noise=noise)
        train(model, examples, examples, options=chosen)
        z = torch.tensor([-1.5, 0.0, 1.5])
        with torch.no_grad():
            heights[noise] = model(Batch(torch.zeros(3, 1))).log_prob(z)
    z = torch.tensor([-1.5, 0.0, 1.5])
    probability = z.sigmoid()
    blurred = probability / (0.05 * math.sqrt(2 * math.pi)) + (1 - probability) * 0.399
    # the ratio of two such heights is what tells z apart
    torch.testing.assert_close(heights[0.05], blurred.log(), rtol=0, atol=0.35)
    assert (heights[0.0] - heights[0.05]).max() > 1.0


def test_gradient_reaches_every_parameter() -> None:
    model = stirred(flow(3, modelled=2)).train()
    loss = model.loss(model(rows_of(50, 3)), torch.linspace(-3, 3, 50)).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_description_and_weights_make_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    if "FlowLikelihood" not in models.__all__:
        monkeypatch.setattr(models, "__all__", [*models.__all__, "FlowLikelihood"])
        monkeypatch.setattr(models, "FlowLikelihood", FlowLikelihood, raising=False)
    model, batch = stirred(flow(3, modelled=2, nodes=16)), rows_of(10, 3)
    targets = Labelled(batch, torch.linspace(-4, 5, 10))
    model.finish(targets, targets)
    assert (3 * model.range).tolist() == pytest.approx([-4, 5])
    again = build(json.loads(json.dumps(describe(model)))).eval()
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.outputs(batch), model.outputs(batch))
    assert torch.equal(pickle.loads(pickle.dumps(model)).outputs(batch), model.outputs(batch))
    with torch.inference_mode():
        assert torch.equal(model.outputs(batch), again.outputs(batch))


def test_what_it_refuses() -> None:
    for keywords in (
        {"features": 0},
        {"features": 2, "modelled": 3},
        {"features": 2, "nodes": 2},
        {"features": 2, "bins": 1},
        {"features": 2, "noise": math.inf},
        {"features": 2, "noise": -0.1},
        {"features": 2, "transforms": -1},
    ):
        with pytest.raises(ConfigError, match=r"FlowLikelihood: .* is .*needed: "):
            flow(**keywords)
    with pytest.raises(ConfigError, match="head is a MixtureHead; needed: NormalHead"):
        flow(head=MixtureHead())
