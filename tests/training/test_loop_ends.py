"""How often a training steps, what it records, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hepcalib import losses
from hepcalib.batch import Batch
from hepcalib.exceptions import TrainingError
from hepcalib.models import MLP, Bayesian, DeepEnsemble, Head, Labelled, NormalHead
from hepcalib.training import Examples, TrainingOptions, train

CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


def linear(features: int, head: Head) -> MLP:
    torch.manual_seed(8)
    return MLP(features=features, hidden=(), head=head)


def regression(rows: int, *, seed: int) -> Examples:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=random)
    return Examples(Batch(features=x), x.sum(dim=1) + 0.5 * torch.randn(rows, generator=random))


class Recording(MLP):
    """A model that counts the rows of its training and keeps what it was finished with."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.seen: list[int] = []
        self.finished: list[tuple[Labelled, Labelled]] = []
        self.at_the_end: list[dict[str, torch.Tensor]] = []

    def forward(self, batch: Batch) -> Any:
        self.seen += [batch.rows] * self.training
        return super().forward(batch)

    def regulariser(
        self,
        predicted: Any,
        target: torch.Tensor,
        *,
        rows: int,
        weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        del weight
        assert predicted.batch_shape == target.shape
        return target.new_tensor(1.0 / rows)

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        assert not self.training
        self.finished.append((training, held_out))
        self.at_the_end.append({k: v.clone() for k, v in self.state_dict().items()})


@pytest.mark.parametrize(
    ("min_steps", "steps"), [(0, 4 * 3), (12, 4 * 3), (13, 4 * 6), (100, 4 * 27)]
)
def test_a_small_sample_is_passed_over_several_times(min_steps: int, steps: int) -> None:
    model = Recording(features=3, hidden=(), head=NormalHead())
    options = TrainingOptions(epochs=4, batch_size=40, min_steps=min_steps, **CPU)
    history = train(model, regression(100, seed=1), regression(50, seed=2), options=options)
    assert len(model.seen) == steps >= min_steps
    assert set(model.seen) == {33, 34}
    assert sum(model.seen) * 3 == 100 * steps  # each row once in each pass
    assert len(history) == 4


def test_the_regulariser_is_in_the_history_and_not_in_the_criterion() -> None:
    model = Recording(features=3, hidden=(), head=NormalHead())
    validation = regression(50, seed=2)
    options = TrainingOptions(epochs=3, batch_size=40, **CPU)
    history = train(model, regression(100, seed=1), validation, options=options)
    assert [epoch.regulariser for epoch in history] == pytest.approx([0.01] * 3, rel=1e-6)
    with torch.no_grad():
        nll = losses.nll(model(validation.batch), validation.target).item()
    assert history.best.criterion == pytest.approx(nll, rel=1e-5)
    bayesian = Bayesian(linear(3, NormalHead()))
    start = bayesian.kl().item() / 100
    first = train(bayesian, regression(100, seed=1), validation, options=options)[0]
    # KL / N of three small steps: between its start and twice that.
    assert start * 0.5 < first.regulariser < start * 2
    ensemble = DeepEnsemble(linear(3, NormalHead()), members=2)
    plain = train(ensemble, regression(100, seed=1), validation, options=options)
    assert [epoch.regulariser for epoch in plain] == [0.0] * 3


def test_a_model_is_finished_once_in_its_best_state() -> None:
    torch.manual_seed(29)
    model = Recording(features=3, hidden=(64, 64), head=NormalHead())
    training, validation = regression(50, seed=30), regression(200, seed=31)
    weight = torch.linspace(1.0, 5.0, 50)
    training = training._replace(weight=weight)
    options = TrainingOptions(
        epochs=20, batch_size=25, learning_rate=0.01, schedule="constant", **CPU
    )
    history = train(model, training, validation, options=options)
    assert history.best.validation_nll < history[-1].validation_nll - 0.1
    ((fitted, held_out),) = model.finished
    assert torch.equal(fitted.target, training.target)
    assert fitted.weight is not None
    assert fitted.weight.tolist() == pytest.approx(weight.div(3.0).tolist(), rel=1e-6)
    assert torch.equal(held_out.target, validation.target)
    assert held_out.weight is None
    (state,) = model.at_the_end
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        nll = losses.nll(model(validation.batch), validation.target).item()
    assert nll == pytest.approx(history.best.validation_nll, rel=1e-5)


def test_a_training_that_fails_is_not_finished() -> None:
    model = Recording(features=3, hidden=(), head=NormalHead())
    examples = regression(200, seed=33)
    options = TrainingOptions(batch_size=50, learning_rate=1e30, schedule="constant", **CPU)
    with pytest.raises(TrainingError):
        train(model, examples, examples, options=options)
    assert model.finished == []
