from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import pooled
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import MLP, NormalHead
from hepcalib.models.inversion import GeneralisedInversion, InversionHead, Inverted
from hepcalib.samples.gaussian import AuxiliaryProblem, Sample, simulate_auxiliary
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def raw_outputs(head: InversionHead, rows: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    raw = 2.0 * torch.randn(rows, head.outputs, generator=generator, dtype=torch.float64)
    raw[:, 0] *= 6.0  # zeros beyond the knots too
    return raw


def small(
    features: int = 3, *, measured: int = 0, statistic: str = "median"
) -> GeneralisedInversion:
    torch.manual_seed(2)
    head = InversionHead(knots=5)
    model = GeneralisedInversion(
        MLP(features=features, hidden=(8,), head=head), measured=measured, statistic=statistic
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def features(rows: int = 40, columns: int = 3) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("knots", [2, 3, 13])
def test_the_zero_of_a_curve_is_exact(knots: int) -> None:
    head = InversionHead(knots=knots).double()
    curves = head.curves(raw_outputs(head))
    u, slope = curves.zero()
    assert u.min() < head.low
    assert u.max() > head.high
    torch.testing.assert_close(curves.at(u)[0], torch.zeros_like(u), rtol=0, atol=1e-12)
    step = 1e-6
    around = (curves.at(u + step)[0] - curves.at(u - step)[0]) / (2 * step)
    torch.testing.assert_close(around, slope, rtol=1e-6, atol=1e-6)


def test_curves_rise_and_are_straight_beyond_the_knots() -> None:
    head = InversionHead(knots=7).double()
    curves = head.curves(raw_outputs(head, 50))
    grid = torch.linspace(-8.0, 10.0, 181, dtype=torch.float64)
    heights = torch.stack([curves.at(u)[0] for u in grid.unbind()])
    assert heights.diff(dim=0).min() > 0
    torch.testing.assert_close(curves.at(torch.zeros(()))[0], curves.offset)
    for outside in (grid < head.low, grid > head.high):
        bends = heights[outside].diff(n=2, dim=0)
        torch.testing.assert_close(bends, torch.zeros_like(bends), rtol=0, atol=1e-10)


def test_the_distribution_is_the_zero_and_its_width() -> None:
    head = InversionHead(shift=1.5, scale=0.5).double()
    raw = raw_outputs(head)
    found = head(raw)
    u, slope = head.curves(raw).zero()
    _, lower, upper = head.curves(raw).at(u)
    assert isinstance(found, Normal)
    torch.testing.assert_close(found.mean, 1.5 + 0.5 * u)
    torch.testing.assert_close(found.stddev, 0.25 * (lower + upper) / slope)


def test_the_distribution_pools_like_any_normal_one() -> None:
    model, batch = small(), Batch(features())
    mixture = pooled(model.members(batch))
    torch.testing.assert_close(mixture.mean, model(batch).mean)
    assert model(batch).expand(torch.Size([2, 40])).mean.shape == (2, 40)


def test_an_untrained_curve_is_the_target_itself() -> None:
    head = InversionHead(shift=2.0, scale=3.0)
    raw = torch.zeros(3, head.outputs)
    raw[:, 0] = -torch.tensor([-2.5, 0.0, 6.0])  # what is measured, beyond the knots too
    torch.testing.assert_close(head(raw).mean, torch.tensor([-5.5, 2.0, 20.0]))


def test_more_measured_is_more_true() -> None:
    model, theta = small(measured=1), features(1).repeat(200, 1)
    theta[:, 1] = torch.linspace(-6.0, 6.0, 200)
    assert model(Batch(theta)).mean.diff().min() > 0
    theta[:, 0] = theta[:, 1]  # another feature is not the measured one
    assert (model(Batch(theta)).mean.diff() - model(Batch(theta)).mean.diff()[0]).abs().max() > 1e-3


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_loss_is_that_of_the_curves(statistic: str) -> None:
    model, batch = small(statistic=statistic).double(), Batch(features().double())
    target = torch.randn(40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    predicted = model(batch)
    assert isinstance(predicted, Inverted)
    difference, lower, upper = predicted.curves.at(model.head.standardised(target))
    residual = -difference  # measured minus curve
    central = 0.5 * residual**2 if statistic == "mean" else 0.5 * residual.abs()
    tail = 0.15865525393145707
    below, above = residual + lower, residual - upper
    expected = central + torch.maximum(tail * below, (tail - 1) * below)
    expected = expected + torch.maximum((1 - tail) * above, -tail * above)
    torch.testing.assert_close(model.loss(predicted, target), expected)
    model.train()
    torch.testing.assert_close(model.loss(model(batch), target), expected)


def test_gradient_reaches_every_parameter_and_widths_do_not_move_the_curve() -> None:
    model, batch, target = small(), Batch(features()), torch.zeros(40)
    loss = model.loss(model(batch), target).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    predicted = model(batch)
    predicted.curves.offset.retain_grad()
    total = model.loss(predicted, target).sum()
    total.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert predicted.curves.offset.grad is not None
    # Half of the signs, whatever the outer quantiles are.
    torch.testing.assert_close(predicted.curves.offset.grad.abs(), torch.full((40,), 0.5))


def test_a_model_describes_itself() -> None:
    model = small(measured=2, statistic="mean")
    assert model.config == {
        "model": {"name": "MLP", **model.model.config},
        "measured": 2,
        "statistic": "mean",
    }
    assert InversionHead(**model.head.config).config == model.head.config


class Trained(NamedTuple):
    """A trained model, and the mean and deviation of the two columns it was given."""

    model: GeneralisedInversion
    mean: np.ndarray
    deviation: np.ndarray

    def calibrated(self, sample: Sample) -> np.ndarray:
        columns = np.stack([sample.measured, sample.auxiliary], axis=1)
        batch = Batch(torch.from_numpy((columns - self.mean) / self.deviation).float())
        with torch.no_grad():
            return np.asarray(self.model(batch).mean.double())


def fitted(
    problem: AuxiliaryProblem, true: np.ndarray, *, seed: int, hidden: Sequence[int] = (16,)
) -> Trained:
    sample = simulate_auxiliary(problem, true, seed=seed)
    columns = np.stack([sample.measured, sample.auxiliary], axis=1)
    mean, deviation = columns.mean(0), columns.std(0)
    torch.manual_seed(5)
    head = InversionHead(
        knots=4, low=-1.6, high=1.6, shift=float(true.mean()), scale=float(true.std())
    )
    model = GeneralisedInversion(MLP(features=2, hidden=hidden, head=head))
    batch = Batch(torch.from_numpy((columns - mean) / deviation).float())
    examples = Examples(batch, torch.from_numpy(true).float())
    held_out, rows = torch.arange(len(true) // 10), torch.arange(len(true) // 10, len(true))
    options = TrainingOptions(epochs=4, batch_size=200, learning_rate=3e-2, threads=1)
    train(model, examples.select(rows), examples.select(held_out), options=options)
    return Trained(model, mean, deviation)


@pytest.mark.parametrize("drift", [0.02, pytest.param(0.0, marks=pytest.mark.validation)])
def test_width_with_an_auxiliary_observable(drift: float) -> None:
    """The width of the sample s / a is that of V22 and V23, not that of plain inversion."""
    problem = AuxiliaryProblem(drift=drift)
    rows = 20_000
    true = np.random.default_rng(6).uniform(0.0, 100.0, rows)
    trained = fitted(problem, true, seed=7)
    test = simulate_auxiliary(problem, np.full(rows, 50.0), seed=8)
    found = trained.calibrated(test)
    # Some 20 effective parameters, fitted to so many rows, add their share of the width.
    width, allowed = problem.generalised_width, 0.02
    assert found.std() == pytest.approx(width, rel=allowed)
    assert abs(found.std() / problem.inversion_width - 1.0) > 10 * allowed
    assert abs(np.median(found) - 50.0) < 8 * width / rows**0.5
    with torch.no_grad():
        columns = np.stack([test.measured, test.auxiliary], axis=1)
        scaled = torch.from_numpy((columns - trained.mean) / trained.deviation).float()
        told = trained.model(Batch(scaled)).stddev.mean().item()
    assert told == pytest.approx(width, rel=0.05)


def test_another_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="head NormalHead, measured 0, statistic 'median'"):
        GeneralisedInversion(MLP(features=2, head=NormalHead()))
    with pytest.raises(ConfigError, match="statistic 'mode'; needed: InversionHead"):
        small(statistic="mode")
    with pytest.raises(ConfigError, match=r"1 knots, -2\.0 to 4\.0; needed: 2 or more"):
        InversionHead(knots=1)
    with pytest.raises(ConfigError, match=r"shift 0\.0, scale 0\.0; needed: finite, scale > 0"):
        InversionHead(scale=0.0)


def test_a_batch_without_the_measured_feature_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(40, 3\); needed: more than 3"):
        small(measured=3)(Batch(features()))
