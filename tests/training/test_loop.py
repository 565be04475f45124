from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch

from hepcalib import losses
from hepcalib.batch import Batch
from hepcalib.exceptions import DataError, TrainingError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    DeepEnsemble,
    Dropout,
    Laplace,
    MixtureHead,
    NormalHead,
)
from hepcalib.ragged import Ragged
from hepcalib.training import Examples, History, PenaltyOptions, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.models import Head, Model

CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(features: int, head: Head) -> MLP:
    torch.manual_seed(8)
    return MLP(features=features, hidden=(), head=head)


def regression(rows: int, *, seed: int) -> Examples:
    random = generator(seed)
    x = torch.randn(rows, 3, generator=random)
    return Examples(Batch(features=x), x.sum(dim=1) + 0.5 * torch.randn(rows, generator=random))


def tagging(rows: int, *, seed: int) -> Examples:
    """Signal in the odd rows; the first feature is the nuisance."""
    target = (torch.arange(rows) % 2).float()
    x = torch.randn(rows, 2, generator=generator(seed)) + target.unsqueeze(1)
    return Examples(Batch(features=x), target, nuisance=x[:, 0], background=target == 0)


def jets(rows: int, *, seed: int) -> Examples:
    """Sets of 0 to 8 constituents whose sum is the target."""
    random = generator(seed)
    counts = torch.randint(0, 9, (rows,), generator=random)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    constituents = Ragged(torch.rand(int(offsets[-1]), 2, generator=random), offsets)
    target = constituents.sum()[:, 0] + 0.1 * torch.randn(rows, generator=random)
    return Examples(Batch(constituents=constituents), target)


def set_model() -> Model:
    torch.manual_seed(22)
    return PFN(constituents=2, phi=(16, 16), f=(16,), head=MixtureHead(components=2))


def test_set_models_learn_from_packed_batches() -> None:
    model = set_model()
    options = TrainingOptions(epochs=8, batch_size=100, learning_rate=5e-3, **CPU)
    history = train(model, jets(2000, seed=23), jets(500, seed=24), options=options)
    with torch.no_grad():
        residual = model(jets(500, seed=24).batch).mean - jets(500, seed=24).target
    assert residual.std().item() < 0.2
    assert history[-1].validation_nll < history[0].validation_nll - 1


def fit(seed: int) -> tuple[History, dict[str, torch.Tensor]]:
    model = Bayesian(set_model())
    options = TrainingOptions(epochs=3, batch_size=64, seed=seed, gradient_clip=1.0, **CPU)
    history = train(model, jets(300, seed=25), jets(100, seed=26), options=options)
    return history, model.state_dict()


def test_same_seed_is_the_same_training_bit_by_bit() -> None:
    (first, weights), (again, same), (other, _) = fit(1), fit(1), fit(2)
    assert first == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert first != other


def test_random_numbers_of_the_process_are_left_alone() -> None:
    model, examples = Bayesian(linear(3, NormalHead())), regression(50, seed=28)
    state = torch.get_rng_state()
    train(model, examples, examples, options=TrainingOptions(epochs=1, **CPU))
    assert torch.equal(torch.get_rng_state(), state)


def test_random_numbers_drawn_before_do_not_change_the_training() -> None:
    examples, model = regression(50, seed=28), Bayesian(linear(3, NormalHead()))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    histories = []
    for drawn in (3, 4):
        model.load_state_dict(start)
        torch.rand(drawn)
        options = TrainingOptions(epochs=2, **CPU)
        histories.append(train(model, examples, examples, options=options))
    assert histories[0] == histories[1]


def overfitted(
    patience: int | None, *, keep: Literal["best", "last"] = "best"
) -> tuple[MLP, History, Examples]:
    torch.manual_seed(29)
    model = MLP(features=3, hidden=(64, 64), head=NormalHead())
    validation = regression(200, seed=31)
    options = TrainingOptions(
        epochs=60,
        batch_size=25,
        learning_rate=0.01,
        schedule="constant",
        patience=patience,
        keep=keep,
        **CPU,
    )
    history = train(model, regression(50, seed=30), validation, options=options)
    return model, history, validation


def test_best_state_is_restored_in_evaluation_mode() -> None:
    model, history, validation = overfitted(None)
    assert len(history) == 60
    assert history.best.validation_nll < history[-1].validation_nll - 0.5
    assert not model.training
    with torch.no_grad():
        nll = losses.nll(model(validation.batch), validation.target)
    assert nll.item() == pytest.approx(history.best.validation_nll, rel=1e-5)


def test_the_last_epoch_can_be_kept() -> None:
    model, history, validation = overfitted(None, keep="last")
    assert history.best is history[-1]
    with torch.no_grad():
        nll = losses.nll(model(validation.batch), validation.target)
    assert nll.item() == pytest.approx(history[-1].validation_nll, rel=1e-5)


def test_patience_ends_the_training() -> None:
    _, history, _ = overfitted(4)
    assert len(history) == history.best.epoch + 4 < 60


def test_progress_and_figures_of_each_epoch() -> None:
    calls: list[tuple[int, int]] = []
    examples = regression(100, seed=32)
    history = train(
        Bayesian(linear(3, NormalHead())),
        examples,
        examples,
        options=TrainingOptions(epochs=3, **CPU),
        progress=lambda epoch, epochs: calls.append((epoch, epochs)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert all(epoch.regulariser > 0 for epoch in history)
    assert all(epoch.criterion == epoch.validation_nll for epoch in history)
    assert np.isfinite(np.array(history)).all()


def test_divergence_names_epoch_and_step() -> None:
    options = TrainingOptions(
        epochs=5, batch_size=50, learning_rate=1e30, schedule="constant", **CPU
    )
    examples = regression(200, seed=33)
    with pytest.raises(TrainingError, match=r"the loss is .* in epoch 1, step 2 of 4 .*1e\+30"):
        train(linear(3, NormalHead()), examples, examples, options=options)


def test_divergence_of_the_last_step_shows_in_the_validation() -> None:
    options = TrainingOptions(epochs=1, learning_rate=1e30, schedule="constant", **CPU)
    examples = regression(200, seed=33)
    with pytest.raises(TrainingError, match="after epoch 1 the validation nll"):
        train(linear(3, NormalHead()), examples, examples, options=options)


def test_divergence_with_a_penalty_is_a_training_error() -> None:
    options = TrainingOptions(
        learning_rate=1e30,
        batch_size=50,
        schedule="constant",
        penalty=PenaltyOptions(name="distance_correlation", strength=1.0),
        **CPU,
    )
    examples, model = tagging(200, seed=34), MLP(features=2, head=BernoulliHead())
    with pytest.raises(TrainingError, match=r"epoch 1.*penalty"):
        train(model, examples, examples, options=options)


class Failing(MLP):
    """A model whose loss is not a number from a certain step of the training on."""

    limit, steps = 0, 0

    def loss(self, predicted: Any, target: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        return super().loss(predicted, target) * (1.0 if self.steps <= self.limit else math.nan)


@pytest.mark.parametrize(("limit", "epochs"), [(0, 0), (3, 0), (5, 1), (14, 3)])
def test_divergence_leaves_the_best_finite_state(limit: int, epochs: int) -> None:
    torch.manual_seed(40)
    model = Failing(features=3, hidden=(8,), head=NormalHead())
    model.limit = limit
    states = [{name: value.clone() for name, value in model.state_dict().items()}]
    nll: list[float] = []
    validation = regression(100, seed=42)

    def progress(epoch: int, _: int) -> None:
        assert epoch == len(states)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        model.eval()
        with torch.no_grad():
            nll.append(-model(validation.batch).log_prob(validation.target).mean().item())

    options = TrainingOptions(epochs=9, batch_size=25, learning_rate=0.1, **CPU)
    with pytest.raises(TrainingError, match=f"in epoch {epochs + 1}, step {limit % 4 + 1} of 4"):
        train(model, regression(100, seed=41), validation, options=options, progress=progress)
    assert len(nll) == epochs
    best = states[int(np.argmin(nll)) + 1 if nll else 0]
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", [Bayesian, DeepEnsemble, Dropout, Laplace])
def test_divergence_leaves_finite_parameters(wrap: Callable[[Model], Model]) -> None:
    model = wrap(MLP(features=3, hidden=(8,), head=MixtureHead(2)))
    examples = regression(200, seed=33)
    options = TrainingOptions(batch_size=50, learning_rate=1e30, schedule="constant", **CPU)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(model, examples, examples, options=options)
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("part", ["training", "validation"])
def test_unusable_samples_are_refused_before_the_first_step(part: str) -> None:
    good, options = regression(20, seed=35), TrainingOptions(epochs=1, **CPU)
    broken = good._replace(target=torch.full((20,), math.nan))
    samples = (broken, good) if part == "training" else (good, broken)
    with pytest.raises(DataError, match=f"{part} target is not finite for 20 of 20"):
        train(linear(3, NormalHead()), *samples, options=options)
    empty = good.select(torch.arange(0))
    samples = (empty, good) if part == "training" else (good, empty)
    with pytest.raises(TrainingError, match=f"the {part} sample is empty"):
        train(linear(3, NormalHead()), *samples, options=options)


def test_all_background_is_refused() -> None:
    background = tagging(100, seed=36).select(torch.arange(0, 100, 2))
    with pytest.raises(TrainingError, match="there is no signal"):
        train(
            linear(2, BernoulliHead()),
            background,
            background,
            options=TrainingOptions(epochs=1, **CPU),
        )


def test_weight_decay_is_refused_beside_a_prior() -> None:
    examples = regression(20, seed=37)
    with pytest.raises(TrainingError, match=r"weight_decay 0.1 for a model with a prior"):
        train(
            Bayesian(linear(3, NormalHead())),
            examples,
            examples,
            options=TrainingOptions(weight_decay=0.1, **CPU),
        )
