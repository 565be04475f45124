"""The width of a Bayesian tagger is the spread of networks trained on samples of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.models import MLP, Bayesian, BernoulliHead, RepulsiveEnsemble
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.models import Model

    Floats = NDArray[np.float64]

ROWS, NETWORKS, SLOPE = 1500, 30, 1.0
PRIOR = 1.0


def sample(seed: int, rows: int = ROWS) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 1, generator=generator)
    target = (torch.rand(rows, generator=generator) < torch.sigmoid(SLOPE * x[:, 0])).float()
    return Examples(Batch(x), target)


def slopes(model: Model, examples: Examples, *, steps: int, rate: float) -> Floats:
    """Train on the whole sample at each step; return the slope of the logit of each member."""
    options = TrainingOptions(
        epochs=steps, batch_size=len(examples.target), learning_rate=rate, device="cpu"
    )
    train(model, examples, examples, options=options)
    with torch.no_grad():
        high, low = model.member_outputs(Batch(torch.tensor([[1.0], [-1.0]]))).unbind(dim=1)
    found: Floats = 0.5 * (high - low).squeeze(1).double().numpy()
    return found


def logistic() -> MLP:
    return MLP(features=1, hidden=(), head=BernoulliHead())


@pytest.fixture(scope="module")
def independent() -> Floats:
    found = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = RepulsiveEnsemble(
            logistic(), members=1, seed=seed, repulsion=0.0, prior_precision=PRIOR
        )
        found.append(slopes(network, sample(seed), steps=40, rate=0.1))
    return np.concatenate(found)


def bayesian_width(rows: int) -> float:
    torch.manual_seed(0)
    model = Bayesian(logistic(), prior_precision=PRIOR, draws=2000, initial_log_variance=-6.0)
    return float(slopes(model, sample(1000, rows), steps=400, rate=0.03).std())


def test_the_width_of_the_draws_is_the_spread_of_independent_fits(
    independent: Floats,
) -> None:
    # One standard error of a standard deviation of n values is 1 / sqrt(2 n).
    tolerance = 4.0 / np.sqrt(2 * NETWORKS)
    spread = independent.std(ddof=1)
    assert independent.mean() == pytest.approx(SLOPE, abs=4.0 * spread / np.sqrt(NETWORKS) + 0.02)
    assert bayesian_width(ROWS) / spread == pytest.approx(1.0, abs=tolerance)
    # A sample of a sixteenth gives four times the width.
    assert bayesian_width(ROWS // 16) / spread > 1.0 + 2.0 * tolerance


def test_the_spread_is_that_of_the_fisher_information(
    independent: Floats,
) -> None:
    x = np.random.default_rng(1).normal(size=200_000)
    p = 1.0 / (1.0 + np.exp(-SLOPE * x))
    expected = 1.0 / np.sqrt(ROWS * np.mean(p * (1.0 - p) * x**2) + PRIOR)
    assert independent.std(ddof=1) == pytest.approx(expected, rel=4.0 / np.sqrt(2 * NETWORKS))
    assert bayesian_width(ROWS) == pytest.approx(expected, rel=0.1)
