from __future__ import annotations

import math

import pytest
import torch

from hepcalib import losses
from hepcalib.batch import Batch
from hepcalib.models import (
    MLP,
    Bayesian,
    BernoulliHead,
    DeepEnsemble,
    Evidential,
    EvidentialHead,
    GeneralisedInversion,
    InversionHead,
    Model,
    NormalHead,
)
from hepcalib.training import Examples, PenaltyOptions
from hepcalib.training.objective import Objective
from hepcalib.training.penalties import penalty


@pytest.fixture
def examples() -> Examples:
    generator = torch.Generator().manual_seed(6)
    features = torch.randn(200, 2, generator=generator)
    background = torch.rand(200, generator=generator) < 0.5
    return Examples(
        batch=Batch(features=features),
        target=(~background).float(),
        weight=torch.rand(200, generator=generator),
        nuisance=features[:, 0] + torch.randn(200, generator=generator),
        background=background,
    )


DISCO = PenaltyOptions(name="distance_correlation", strength=8.0)


def penalised(model: Model, examples: Examples) -> Objective:
    return Objective(model, 200, penalty(DISCO, examples))


def tagger() -> MLP:
    torch.manual_seed(7)
    model = MLP(features=2, hidden=(8,), head=BernoulliHead())
    torch.nn.init.normal_(next(model.parameters()))
    return model


def test_weighted_likelihood_is_the_sum_over_rows(examples: Examples) -> None:
    model = tagger()
    assert examples.weight is not None
    nll = Objective(model, 200).terms(examples, epoch=0).nll
    logits = model.outputs(examples.batch).squeeze(1)
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, examples.target, reduction="none"
    )
    expected = (examples.weight * each).sum() / 200
    assert nll.item() == pytest.approx(expected.item(), rel=1e-6)


def test_penalty_sees_the_background_only(examples: Examples) -> None:
    model = tagger()
    objective = penalised(model, examples)
    score = model(examples.batch).mean
    assert examples.background is not None
    assert examples.nuisance is not None
    assert examples.weight is not None
    mask = examples.background
    expected = losses.distance_correlation(
        score[mask], examples.nuisance[mask], weight=examples.weight[mask]
    )
    assert objective.terms(examples, epoch=0).penalty.item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    # the weights are normalised after the mask, and the signal's nuisance does not matter
    scaled = examples._replace(
        weight=torch.where(mask, 3 * examples.weight, 100.0),
        nuisance=torch.where(mask, examples.nuisance, math.nan),
    )
    assert objective.terms(scaled, epoch=0).penalty.item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_penalty_reaches_the_parameters(examples: Examples) -> None:
    model = tagger()
    penalised(model, examples).terms(examples, epoch=0).penalty.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert all(
        parameter.grad is not None and bool((parameter.grad != 0).any())
        for name, parameter in model.named_parameters()
        if "weight" in name
    )


def test_too_little_background_gives_no_penalty(examples: Examples) -> None:
    objective = penalised(tagger(), examples)
    only_one = examples._replace(background=torch.arange(200) == 5)
    assert objective.terms(only_one, epoch=0).penalty.item() == 0.0


def test_kl_is_divided_by_the_training_sample(examples: Examples) -> None:
    model = Bayesian(MLP(features=2, hidden=(8,), head=NormalHead()))
    terms = Objective(model, 5000).terms(examples, epoch=0)
    assert terms.regulariser.item() == pytest.approx(model.kl().item() / 5000, rel=1e-6)
    assert Objective(tagger(), 5000).terms(examples, epoch=0).regulariser == 0.0


def test_the_regulariser_sees_the_weights(examples: Examples) -> None:
    torch.manual_seed(7)
    model = Evidential(MLP(features=2, hidden=(8,), head=EvidentialHead()), regularisation=0.5)
    assert examples.weight is not None
    found = Objective(model, 200).terms(examples, epoch=0).regulariser
    doubled = examples._replace(weight=2.0 * examples.weight)
    twice = Objective(model, 200).terms(doubled, epoch=0).regulariser
    assert twice.item() == pytest.approx(2.0 * found.item(), rel=1e-6)
    plain = Objective(model, 200).terms(examples._replace(weight=None), epoch=0).regulariser
    assert plain.item() != pytest.approx(found.item(), rel=0.1)


def test_the_loss_is_that_of_the_model(examples: Examples) -> None:
    """Not always a likelihood: the quantile loss of an inversion, and those of all members."""
    assert examples.weight is not None
    curves = MLP(features=2, hidden=(8,), head=InversionHead(knots=4))
    for model, members in (
        (GeneralisedInversion(curves), 1),
        (DeepEnsemble(MLP(features=2, hidden=(8,), head=NormalHead()), members=3), 3),
    ):
        with torch.no_grad():
            each = model.loss(model(examples.batch), examples.target)
            terms = Objective(model, 200).terms(examples, epoch=0)
        assert each.numel() == 200 * members
        expected = (each.reshape(members, 200) * examples.weight).sum() / (200 * members)
        assert terms.nll.item() == pytest.approx(expected.item(), rel=1e-6)
        assert terms.regulariser == 0.0


def test_the_score_of_members_is_their_mean(examples: Examples) -> None:
    ensemble = DeepEnsemble(tagger(), members=3)
    with torch.no_grad():
        predicted = ensemble(examples.batch)
        assert predicted.mean.shape == (3, 200)
        terms = penalised(ensemble, examples).terms(examples, epoch=0)
    mask = examples.background
    assert mask is not None
    assert examples.nuisance is not None
    assert examples.weight is not None
    expected = losses.distance_correlation(
        predicted.mean.mean(0)[mask], examples.nuisance[mask], weight=examples.weight[mask]
    )
    assert terms.penalty.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_the_sum_of_its_parts(examples: Examples) -> None:
    terms = penalised(tagger(), examples).terms(examples, epoch=0)
    assert terms.cost.item() == pytest.approx(8 * terms.penalty.item(), rel=1e-6)
    assert terms.loss.item() == pytest.approx(
        terms.nll.item() + terms.regulariser.item() + terms.cost.item(), rel=1e-6
    )


def test_without_a_penalty_the_criterion_is_the_likelihood(examples: Examples) -> None:
    assert Objective(tagger(), 200).criterion(0.3, 0.0, epoch=1) == 0.3
    assert Objective(tagger(), 200).strength(9) == 0.0
    found = penalised(tagger(), examples).criterion(0.3, 0.1, epoch=1)
    assert found == pytest.approx(0.3 + 8 * 0.1)
