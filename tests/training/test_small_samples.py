"""Ten rows, and a feature that says nothing: every method learns or says why it cannot."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.calibration import location, pooled
from hepcalib.exceptions import TrainingError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    Conformal,
    DeepEnsemble,
    Dropout,
    Evidential,
    EvidentialHead,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
    InversionHead,
    Laplace,
    LogNormalHead,
    MixtureHead,
    Model,
    NormalHead,
    PointHead,
    RepulsiveEnsemble,
)
from hepcalib.ragged import Ragged
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


def mlp(head: Any) -> MLP:
    return MLP(features=3, hidden=(8,), head=head)


METHODS: dict[str, Callable[[], Model]] = {
    "MLP": lambda: mlp(MixtureHead()),
    "log-normal": lambda: mlp(LogNormalHead()),
    "points": lambda: mlp(PointHead()),
    "PFN": lambda: PFN(constituents=2, features=3, phi=(8,), f=(8,), head=NormalHead()),
    "Bayesian": lambda: Bayesian(mlp(MixtureHead()), draws=4),
    "Conformal": lambda: Conformal(Bayesian(mlp(MixtureHead()), draws=4), groups=3),
    "DeepEnsemble": lambda: DeepEnsemble(mlp(MixtureHead()), members=4),
    "Dropout": lambda: Dropout(mlp(MixtureHead()), draws=4),
    "Evidential": lambda: Evidential(mlp(EvidentialHead()), nodes=2),
    "FlowLikelihood": lambda: FlowLikelihood(
        features=3, head=NormalHead(), transforms=1, hidden=(8,)
    ),
    "GaussianAnsatz": lambda: GaussianAnsatz(mlp(NormalHead()), warmup=2),
    "GeneralisedInversion": lambda: GeneralisedInversion(mlp(InversionHead())),
    "Laplace": lambda: Laplace(mlp(MixtureHead()), draws=4),
    "RepulsiveEnsemble": lambda: RepulsiveEnsemble(mlp(MixtureHead()), members=4),
}
every = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS.keys())


def examples(rows: int, *, seed: int = 1, constant: float | None = None) -> Examples:
    """Positive targets; the last feature is constant if asked for."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 3, generator=generator)
    if constant is not None:
        features[:, 2] = constant
    counts = torch.arange(rows) % 3
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    constituents = Ragged(torch.randn(int(counts.sum()), 2, generator=generator), offsets)
    target = 1.0 + 0.2 * features[:, 0].tanh() + 0.1 * torch.rand(rows, generator=generator)
    return Examples(Batch(features, constituents), target)


def assert_predicts(model: Model, batch: Batch) -> None:
    with torch.no_grad():
        members = model.members(batch)
        ends = location.quantiles(pooled(members), model.interval(members))
    assert members.mean.isfinite().all()
    assert members.variance.isfinite().all()
    assert ends.isfinite().all()
    width = ends[1] - ends[0]
    assert (width >= 0).all() if isinstance(model.head, PointHead) else (width > 0).all()


@every
@pytest.mark.parametrize("held_out", [1, 2])
def test_ten_rows_are_enough(make: Callable[[], Model], held_out: int) -> None:
    torch.manual_seed(2)
    model = make()
    options = TrainingOptions(epochs=5, min_steps=30, learning_rate=0.01, **CPU)
    history = train(model, examples(10), examples(held_out, seed=3), options=options)
    assert len(history) == 5
    assert_predicts(model, examples(50, seed=4).batch)


@every
def test_one_row_is_learnt_or_refused(make: Callable[[], Model]) -> None:
    torch.manual_seed(2)
    model, one = make(), examples(1)
    with suppress(TrainingError):
        train(model, one, one, options=TrainingOptions(epochs=3, **CPU))
        assert_predicts(model, examples(5, seed=4).batch)
    assert all(value.isfinite().all() for value in model.state_dict().values())


@every
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_constant_feature_does_no_harm(make: Callable[[], Model], constant: float) -> None:
    torch.manual_seed(2)
    model, sample = make(), examples(100, constant=constant)
    options = TrainingOptions(epochs=4, batch_size=25, learning_rate=0.01, **CPU)
    train(model, sample, examples(30, seed=3, constant=constant), options=options)
    assert_predicts(model, sample.batch)
    assert_predicts(model, examples(20, seed=5).batch)  # it varies after all
