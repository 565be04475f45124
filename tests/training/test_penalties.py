"""Strength, ramp, constraint and adversary in a training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hepcalib import losses
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.models import MLP, BernoulliHead
from hepcalib.training import Examples, PenaltyOptions, TrainingOptions, train
from hepcalib.training.objective import Objective
from hepcalib.training.penalties import penalty


def jets(rows: int = 400, *, seed: int = 1) -> Examples:
    """Three Gaussian variables: the first is the nuisance, which the second one tells."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    signal = torch.arange(rows) % 2 == 1
    x[:, 1] = torch.where(signal, x[:, 1], 0.6 * x[:, 1] - 0.8 * x[:, 0])
    x = 1.5 * x + torch.where(signal.unsqueeze(1), torch.tensor([2.5, 2.5, 2.0]), 0.0)
    return Examples(
        batch=Batch(features=x[:, 1:]),
        target=signal.float(),
        weight=torch.rand(rows, generator=generator) + 0.5,
        nuisance=x[:, :1],
        background=~signal,
    )


def tagger() -> MLP:
    torch.manual_seed(2)
    return MLP(features=2, hidden=(16, 16), head=BernoulliHead())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"name": "disco", "strength": 1.0},
            "unknown penalty 'disco'. Known: abcd_closure",
        ),
        ({"name": "adversary"}, "strength None, at_most None; needed: one of them"),
        (
            {"name": "distance_correlation", "strength": 1.0, "at_most": 1.0},
            "strength 1.0, at_most 1.0; needed: one of them",
        ),
        ({"name": "adversary", "at_most": 0.1}, "an adversary has no value that at_most could"),
        ({"name": "abcd_closure", "strength": -1.0}, "penalty_strength is -1.0; needed: at least"),
        ({"name": "abcd_closure", "at_most": 0.0}, "penalty_at_most is 0.0; needed: positive"),
        ({"name": "abcd_closure", "at_most": math.nan}, "penalty_at_most is nan"),
        (
            {"name": "abcd_closure", "strength": 1.0, "acts_on": "signal"},
            "acts_on is 'signal'; needed: background or all",
        ),
        (
            {"name": "moment_decomposition", "strength": 1.0, "options": {"ordr": 1}},
            "unknown option 'ordr' of moment_decomposition. Known: ",
        ),
        (
            {"name": "adversary", "strength": 1.0, "options": {"nuisances": 2}},
            "unknown option 'nuisances' of adversary",
        ),
    ],
)
def test_impossible_options_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PenaltyOptions(**keywords)


def test_pretraining_then_a_linear_ramp() -> None:
    options = PenaltyOptions(
        name="distance_correlation", strength=8.0, warmup_epochs=3, pretraining_epochs=2
    )
    made = penalty(options, jets())
    assert [made.strength(epoch) for epoch in range(7)] == [0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 8.0]


def test_options_reach_the_function_and_all_rows_count() -> None:
    examples = jets()
    score = tagger()(examples.batch).mean.detach()
    options = PenaltyOptions(
        name="moment_decomposition", strength=1.0, acts_on="all", options={"order": 1, "bins": 8}
    )
    assert examples.nuisance is not None
    expected = losses.moment_decomposition(
        score, examples.nuisance, weight=examples.weight, order=1, bins=8, unbiased=True
    )
    assert penalty(options, examples).value(score, examples).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_several_nuisances_reach_the_function() -> None:
    examples = jets()
    assert examples.nuisance is not None
    both = examples._replace(nuisance=torch.cat([examples.nuisance, examples.batch.features], 1))  # type: ignore[list-item]  # features are there
    score = tagger()(examples.batch).mean.detach()
    options = PenaltyOptions(name="moment_decomposition", strength=1.0)
    assert both.nuisance is not None
    assert both.background is not None
    mask = both.background
    assert both.weight is not None
    expected = torch.stack(
        [
            losses.moment_decomposition(
                score[mask], column[mask], weight=both.weight[mask], unbiased=True
            )
            for column in both.nuisance.T
        ]
    ).mean()
    found = penalty(options, both).value(score, both)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def mean_score(score: Tensor, nuisance: Tensor, *, weight: Tensor | None) -> Tensor:
    """A penalty whose constrained minimum is known."""
    del nuisance, weight
    return score.mean()


@pytest.mark.parametrize("damping", [0.0, 5.0])
def test_a_constraint_finds_its_multiplier(damping: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minimise (x - 2)^2 with x <= 1: x = 1, and the multiplier is 2."""
    monkeypatch.setattr(losses, "abcd_closure", mean_score)
    examples = jets(4)
    options = PenaltyOptions(
        name="abcd_closure", at_most=1.0, damping=damping, multiplier_rate=0.05, acts_on="all"
    )
    made = penalty(options, examples)
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.02)
    for _ in range(4000):
        value, cost = made.cost(x.expand(4), examples, epoch=0)
        optimizer.zero_grad()
        loss = (x - 2).square() + cost
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
        made.react(value.item(), epoch=0)
    assert x.item() == pytest.approx(1.0, abs=1e-6)
    assert made.get_buffer("multiplier").item() == pytest.approx(2.0, abs=1e-5)


def test_a_constraint_that_holds_anyway_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "abcd_closure", mean_score)
    made = penalty(PenaltyOptions(name="abcd_closure", at_most=5.0, acts_on="all"), jets(4))
    x = torch.full((4,), 2.0, requires_grad=True)
    value, cost = made.cost(x, jets(4), epoch=0)
    assert cost.item() == 0.0
    assert torch.autograd.grad(cost, x)[0].abs().sum() == 0.0
    made.react(value.item(), epoch=0)
    assert made.get_buffer("multiplier").item() == 0.0


def test_epochs_that_meet_a_constraint_come_first() -> None:
    made = penalty(PenaltyOptions(name="abcd_closure", at_most=0.1), jets())
    met, violated = made.criterion(0.6, 0.09, epoch=1), made.criterion(0.3, 0.11, epoch=2)
    assert met == 0.6
    assert violated > met


def score_of(model: MLP, examples: Examples) -> Tensor:
    with torch.no_grad():
        mean: Tensor = model(examples.batch).mean
    return mean


def correlation(model: MLP, examples: Examples) -> float:
    assert examples.nuisance is not None
    assert examples.background is not None
    rows = examples.background
    found = losses.distance_correlation(
        score_of(model, examples)[rows], examples.nuisance[rows, 0], unbiased=True
    )
    return found.item()


def fitted(options: PenaltyOptions | None, *, epochs: int = 12) -> MLP:
    model = tagger()
    train(
        model,
        jets(8000, seed=3),
        jets(4000, seed=4),
        options=TrainingOptions(
            epochs=epochs,
            batch_size=1000,
            learning_rate=5e-3,
            device="cpu",
            threads=1,
            schedule="constant",
            penalty=options,
        ),
    )
    return model


def test_constraint_and_adversary_decorrelate() -> None:
    """The dependence without penalty is 0.33 for jets without limit."""
    test = jets(8000, seed=5)
    plain = correlation(fitted(None), test)
    assert plain == pytest.approx(0.33, abs=0.06)
    bound = 0.03
    bounded = PenaltyOptions(name="distance_correlation", at_most=bound, multiplier_rate=2.0)
    constrained = correlation(fitted(bounded, epochs=20), test)
    # 4000 background jets: the distance correlation has an error of about 0.005
    assert constrained < bound + 3 * 0.005
    assert constrained > 0.2 * bound  # no stronger than asked for
    adversary = PenaltyOptions(
        name="adversary",
        strength=5.0,
        pretraining_epochs=3,
        warmup_epochs=5,
        options={"components": 3, "hidden": [32]},
    )
    assert correlation(fitted(adversary, epochs=20), test) < 0.2 * plain


def test_an_adversary_turns_the_gradient_of_the_score_only() -> None:
    examples = jets()
    torch.manual_seed(6)
    options = PenaltyOptions(name="adversary", strength=3.0, options={"components": 2})
    made = penalty(options, examples)
    score = score_of(tagger(), examples).requires_grad_()
    plain = made.value(score, examples)
    parameters = list(made.parameters())
    expected = torch.autograd.grad(plain, [score, *parameters])
    value, cost = made.cost(score, examples, epoch=0)
    found = torch.autograd.grad(cost, [score, *parameters])
    assert value.item() == cost.item() == plain.item()
    torch.testing.assert_close(found[0], -3.0 * expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert torch.equal(one, other)
    assert Objective(tagger(), 400, made).criterion(0.1, 2.0, epoch=3) == -3.0


def test_an_adversary_knows_auxiliary_inputs() -> None:
    examples = jets()
    assert examples.nuisance is not None
    known = examples._replace(auxiliary=examples.nuisance.exp())
    options = PenaltyOptions(name="adversary", strength=1.0, options={"components": 2})
    made = penalty(options, known)
    score = score_of(tagger(), known)
    first = made.value(score, known)
    again = made.value(score, known._replace(auxiliary=2 * examples.nuisance.exp()))
    assert first.isfinite()
    assert first.item() != again.item()
    assert known.select(torch.tensor([3, 1])).auxiliary is not None


def test_an_adversary_refuses_a_constant_nuisance() -> None:
    examples = jets()._replace(nuisance=torch.ones(400, 1))
    with pytest.raises(DataError, match="a nuisance is constant"):
        penalty(PenaltyOptions(name="adversary", strength=1.0), examples)
