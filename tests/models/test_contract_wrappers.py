"""Wrappers around wrappers: a pair either works as a whole or is refused when it is made."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.calibration import location, pooled
from hepcalib.exceptions import ConfigError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    Conformal,
    DeepEnsemble,
    Dropout,
    EvidentialHead,
    FlowLikelihood,
    GeneralisedInversion,
    Head,
    InversionHead,
    Laplace,
    MixtureHead,
    Model,
    NormalHead,
    PointHead,
    build,
    describe,
)
from hepcalib.ragged import Ragged
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

KEYWORDS: dict[str, dict[str, Any]] = {
    "Bayesian": {"draws": 3},
    "Conformal": {},
    "DeepEnsemble": {"members": 3},
    "Dropout": {"draws": 3},
    "Evidential": {"nodes": 2},
    "GaussianAnsatz": {"warmup": 2},
    "GeneralisedInversion": {},
    "Laplace": {"draws": 3},
    "RepulsiveEnsemble": {"members": 3},
}
PLAIN = ("MLP", "PFN")
TRAINED_OTHERWISE = ("GaussianAnsatz", "GeneralisedInversion")
WORKS: dict[str, tuple[str, ...]] = {
    "Bayesian": (*PLAIN, *TRAINED_OTHERWISE),
    "Conformal": (*PLAIN, "FlowLikelihood", *(name for name in KEYWORDS if name != "Conformal")),
    "DeepEnsemble": PLAIN,
    "Dropout": (*PLAIN, *TRAINED_OTHERWISE),
    "Evidential": PLAIN,
    "GaussianAnsatz": PLAIN,
    "GeneralisedInversion": PLAIN,
    "Laplace": PLAIN,
    "RepulsiveEnsemble": PLAIN,
}
INNER = (*PLAIN, "FlowLikelihood", *KEYWORDS)
PAIRS = [(outer, inner) for outer in KEYWORDS for inner in INNER]
HEADS: tuple[Callable[[], Head], ...] = (
    NormalHead,
    lambda: MixtureHead(2),
    EvidentialHead,
    lambda: InversionHead(knots=4),
)


def plain(name: str, head: Head) -> Model:
    if name == "FlowLikelihood":
        return FlowLikelihood(features=3, head=head, transforms=1, hidden=(8,), bins=4)
    if name == "PFN":
        return PFN(constituents=2, features=3, phi=(6,), f=(6,), head=head)
    return MLP(features=3, hidden=(6,), head=head)


def wrapped(name: str, model: Model) -> Model:
    result: Model = getattr(models, name)(model, **KEYWORDS[name])
    return result


def candidates(name: str) -> list[Model]:
    """All models of this name that the heads allow, on a multilayer perceptron if wrapped."""
    found = []
    for head in HEADS:
        try:
            model = plain(name, head())
            found.append(wrapped(name, model) if name in KEYWORDS else model)
        except ConfigError:
            continue
    return found


def examples(rows: int = 40) -> Examples:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(rows, 3, generator=generator)
    counts = torch.arange(rows) % 4
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    constituents = Ragged(torch.randn(int(counts.sum()), 2, generator=generator), offsets)
    noise = 0.3 * torch.randn(rows, generator=generator)
    return Examples(Batch(features, constituents), 0.5 * features[:, 0] + noise)


def trained(model: Model) -> Model:
    sample = examples()
    options = TrainingOptions(
        epochs=2, batch_size=20, learning_rate=0.01, schedule="constant", device="cpu", threads=1
    )
    train(model, sample, sample, options=options)
    return model


def unlearnt(model: Model, before: dict[str, torch.Tensor]) -> list[str]:
    """The parameters which have not moved, or one of whose members has not."""
    names = []
    for name, parameter in model.named_parameters():
        moved = (parameter != before[name]).reshape(len(parameter), -1).any(1)
        members = "networks." in name
        if not (moved.all() if members else moved.any()):
            names.append(name)
    return names


def require_whole(model: Model) -> None:
    """Train, predict, and do so again from the description and the weights."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert unlearnt(trained(model), before) == []
    batch = examples().batch
    again = build(describe(model)).eval()
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(model.state_dict())))
    with torch.no_grad():
        members, same = model.members(batch), again.members(batch)
        alone = model.members(batch.select(slice(5, 6)))
        ends, found = (
            location.quantiles(pooled(predicted), of.interval(predicted))
            for predicted, of in ((members, model), (same, again))
        )
    assert members.batch_shape[1:] == (batch.rows,)
    torch.testing.assert_close(alone.mean[:, 0], members.mean[:, 5], rtol=1e-5, atol=1e-5)
    assert ends.isfinite().all()
    assert (ends[1] > ends[0]).all()
    assert torch.equal(same.mean, members.mean)
    assert torch.equal(found, ends)


def test_every_wrapper_is_listed() -> None:
    classes = {name: getattr(models, name) for name in models.__all__}
    wrappers = {
        name
        for name, item in classes.items()
        if inspect.isclass(item)
        and issubclass(item, Model)
        and "model" in inspect.signature(item).parameters
    }
    assert wrappers == KEYWORDS.keys() == WORKS.keys()
    others = {
        name
        for name, item in classes.items()
        if inspect.isclass(item) and issubclass(item, Model) and not inspect.isabstract(item)
    } - set(INNER)
    others -= {"BoostedTrees"}  # which no gradient goes through
    # Of the models of constituents one stands here for all, which test_contract_constituents wraps.
    assert all("constituents" in inspect.signature(classes[name]).parameters for name in others)


@pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{o} of {i}" for o, i in PAIRS])
def test_a_pair_works_or_is_refused(outer: str, inner: str) -> None:
    torch.manual_seed(3)
    made: list[Model] = []
    for model in candidates(inner):
        try:
            made.append(wrapped(outer, model))
        except ConfigError:
            continue
    assert bool(made) == (inner in WORKS[outer])
    for model in made:
        if isinstance(model.head, EvidentialHead) and not has_width(model):
            continue  # of no use as a prediction; see the test below
        require_whole(model)


def has_width(model: Model) -> bool:
    """Whether a model makes normal distributions of its evidence."""
    return any(isinstance(part, models.Evidential) for part in model.modules())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conformal(Bayesian(plain("PFN", MixtureHead(2)), draws=3)),
        lambda: Conformal(DeepEnsemble(plain("PFN", NormalHead()), members=3), groups=2),
        lambda: Conformal(Laplace(plain("PFN", MixtureHead(2)), draws=3)),
        lambda: Conformal(
            Bayesian(GeneralisedInversion(plain("PFN", InversionHead(knots=4))), draws=3)
        ),
        lambda: Conformal(Dropout(GeneralisedInversion(plain("MLP", InversionHead())), draws=3)),
        lambda: GeneralisedInversion(plain("PFN", InversionHead(knots=4))),
    ],
)
def test_longer_chains_work(make: Callable[[], Model]) -> None:
    torch.manual_seed(4)
    require_whole(make())


@pytest.mark.parametrize("head", [PointHead(), BernoulliHead(), EvidentialHead()])
def test_an_interval_needs_a_width(head: Head) -> None:
    for model in (plain("MLP", head), Dropout(plain("PFN", head), draws=3)):
        with pytest.raises(ConfigError, match="Conformal: the model"):
            Conformal(model)


def test_a_member_that_learns_nothing_would_be_noticed() -> None:
    """The negative control: an ensemble whose first member alone is trained."""

    class First(DeepEnsemble):
        def forward(self, batch: Batch) -> Any:
            return self.head(self.outputs(batch))

    torch.manual_seed(5)
    model = First(plain("MLP", NormalHead()), members=3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert len(unlearnt(trained(model), before)) == len(before) > 0
