"""What every model promises; a new one is covered once it is in EXAMPLES."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    Conformal,
    DeepEnsemble,
    Dropout,
    Evidential,
    EvidentialHead,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
    InversionHead,
    Labelled,
    Laplace,
    LogNormalMixtureHead,
    MixtureHead,
    Model,
    NormalHead,
    PointHead,
    RepulsiveEnsemble,
    build,
    describe,
)
from hepcalib.models import pfn as pfn_module
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hepcalib.models import Head

COUNTS = (4, 0, 1, 7, 0, 2)  # constituents of each jet
DRAWS = 3  # members of the examples that have several


def small(head: Head) -> MLP:
    return MLP(features=2, hidden=(16, 16), head=head)


def small_pfn(head: Head) -> PFN:
    return PFN(constituents=3, features=2, phi=(16, 16), f=(16,), head=head)


EXAMPLES: dict[str, Callable[[], Model]] = {
    "MLP": lambda: small(MixtureHead()),
    "PFN": lambda: small_pfn(BernoulliHead()),
    "Bayesian": lambda: Bayesian(small(NormalHead()), draws=DRAWS),
    "Conformal": lambda: Conformal(small(NormalHead()), groups=2),
    "DeepEnsemble": lambda: DeepEnsemble(small(MixtureHead(2)), members=DRAWS),
    "Dropout": lambda: Dropout(small(MixtureHead(2)), rate=0.3, draws=DRAWS),
    "Evidential": lambda: Evidential(small(EvidentialHead()), nodes=2),
    "FlowLikelihood": lambda: FlowLikelihood(
        features=2, head=NormalHead(), transforms=1, hidden=(8,), bins=4
    ),
    "GaussianAnsatz": lambda: GaussianAnsatz(small(NormalHead()), warmup=3),
    "GeneralisedInversion": lambda: GeneralisedInversion(small(InversionHead(knots=4))),
    "Laplace": lambda: Laplace(small(NormalHead()), draws=DRAWS),
    "RepulsiveEnsemble": lambda: RepulsiveEnsemble(small(NormalHead()), members=DRAWS),
}
MORE: dict[str, Callable[[], Model]] = {
    "PFN without features": lambda: PFN(
        constituents=3, phi=(16,), f=(), head=NormalHead(), activation="gelu"
    ),
    "PFN of points": lambda: small_pfn(PointHead()),
    "Bayesian PFN": lambda: Bayesian(small_pfn(MixtureHead(2)), draws=DRAWS, seed=5),
    "Conformal ensemble": lambda: Conformal(DeepEnsemble(small(NormalHead()), members=DRAWS)),
    "Conformal Bayesian PFN": lambda: Conformal(Bayesian(small_pfn(NormalHead()), draws=DRAWS)),
    "ensemble of PFNs": lambda: DeepEnsemble(small_pfn(MixtureHead(2)), members=DRAWS),
    "Dropout in a PFN": lambda: Dropout(small_pfn(NormalHead()), draws=DRAWS),
    "Evidential PFN": lambda: Evidential(small_pfn(EvidentialHead()), nodes=2),
    "Gaussian Ansatz of PFNs": lambda: GaussianAnsatz(small_pfn(NormalHead())),
    "inversion by a PFN": lambda: GeneralisedInversion(small_pfn(InversionHead(knots=4))),
    "Laplace of a PFN": lambda: Laplace(small_pfn(LogNormalMixtureHead(2)), draws=DRAWS),
    "repulsive PFNs": lambda: RepulsiveEnsemble(small_pfn(NormalHead()), members=DRAWS),
}
ALL = EXAMPLES | MORE
SEVERAL = (Bayesian, DeepEnsemble, Dropout, Laplace)
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


def jets(dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor(COUNTS)
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    features = torch.randn(len(COUNTS), 2, generator=generator)
    return Batch(features, Ragged(values, offsets)).to(dtype=dtype)


def labelled() -> Labelled:
    """Jets with targets that any model can have: a probability, or a positive response."""
    return Labelled(jets(), torch.linspace(0.1, 0.9, len(COUNTS)))


def unfinished(make: Callable[[], Model]) -> Model:
    """The model with weights that matter: the last layer starts near zero."""
    torch.manual_seed(2)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and parameter.mean() > -5:  # not the log-variances
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model


def made(make: Callable[[], Model]) -> Model:
    """The same with what is fitted at the end of a training."""
    model = unfinished(make)
    model.finish(labelled(), labelled())
    return model


@torch.no_grad()
def everything(model: Model, batch: Batch) -> Tensor:
    """All that a prediction is made from, (rows, numbers)."""
    members = model.members(batch)
    parts = [model.outputs(batch), *model.member_outputs(batch), members.mean.T]
    parts += [members.variance.log().T] if not isinstance(model.head, PointHead) else []
    if not isinstance(model.head, BernoulliHead):
        parts += [probability.unsqueeze(1) for probability in model.interval(members)]
    return torch.cat(parts, dim=1)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the outputs, which are sums of numbers of the order of one."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_every_model_has_an_example() -> None:
    classes = {name: getattr(models, name) for name in models.__all__}
    concrete = {
        name
        for name, item in classes.items()
        if inspect.isclass(item) and issubclass(item, Model) and not inspect.isabstract(item)
    }
    assert concrete == EXAMPLES.keys()
    assert all(type(make()).__name__ == name for name, make in EXAMPLES.items())


@every
def test_one_distribution_per_row(make: Callable[[], Model]) -> None:
    model, batch, rows = made(make), jets(), len(COUNTS)
    outputs = model.outputs(batch)
    assert outputs.shape == (rows, model.head.outputs)
    assert outputs.dtype == torch.float32
    together = isinstance(getattr(model, "model", model), DeepEnsemble)
    together = together or isinstance(model, DeepEnsemble)
    assert model(batch).batch_shape == ((DRAWS, rows) if together else (rows,))
    members = model.members(batch)
    expected = 8 if isinstance(model, Evidential) else 1
    if any(isinstance(part, SEVERAL) for part in model.modules()):
        expected = DRAWS
    assert members.batch_shape == (expected, rows)
    assert members.mean.shape == members.variance.shape == (expected, rows)
    drawn = model.member_outputs(batch)
    assert drawn.shape == (1 if isinstance(model, Evidential) else expected, *outputs.shape)
    # Rows and members differ: the tests below would notice a mix-up.
    assert members.mean.std(1).min() > 1e-3
    assert expected == 1 or members.mean.std(0).min() > 1e-4


@every
def test_no_rows(make: Callable[[], Model]) -> None:
    model = made(make)
    empty = everything(model, jets().select(slice(0, 0)))
    assert empty.shape == (0, everything(model, jets()).shape[1])


@every
def test_rows_without_constituents_are_finite_and_stay_so_alone(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    empty = torch.tensor([1, 4])
    found = everything(model, batch)
    assert found.isfinite().all()
    assert_close(everything(model, batch.select(empty)), found[empty])


@every
def test_neighbours_and_order_of_rows_do_not_matter(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    found = everything(model, batch)
    for row in range(len(COUNTS)):
        alone = everything(model, batch.select(slice(row, row + 1)))
        assert_close(alone[0], found[row])
    order = torch.tensor([3, 5, 0, 2, 2, 1])
    assert_close(everything(model, batch.select(order)), found[order])


@every
def test_block_size_does_not_matter(
    make: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = made(make), jets()
    found = everything(model, batch)
    modules = [sys.modules[type(part).__module__] for part in model.modules()]
    rooms = [module for module in {pfn_module, *modules} if hasattr(module, "BLOCK")]
    for block in (1, 5, 7, 1000):
        for room in rooms:
            monkeypatch.setattr(room, "BLOCK", block)
        assert_close(everything(model, batch), found)


@every
def test_order_of_constituents_does_not_matter(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    assert batch.constituents is not None
    ids = batch.constituents.row_ids()
    shuffled = torch.randperm(len(ids), generator=torch.Generator().manual_seed(3))
    shuffled = shuffled[ids[shuffled].argsort(stable=True)]  # within each jet
    values = batch.constituents.values[shuffled]
    assert not torch.equal(values, batch.constituents.values)
    permuted = batch._replace(constituents=Ragged(values, batch.constituents.offsets))
    assert_close(everything(model, permuted), everything(model, batch))


@every
def test_values_outside_the_rows_do_not_matter(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    assert batch.constituents is not None
    nan = torch.full((2, 3), torch.nan)
    values = torch.cat([nan, batch.constituents.values, nan])
    loose = batch._replace(constituents=Ragged(values, batch.constituents.offsets + 2))
    assert torch.equal(everything(model, loose), everything(model, batch))


@every
def test_a_prediction_can_be_repeated(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    found = everything(model, batch)
    torch.rand(5)
    assert torch.equal(everything(model, batch), found)
    model.train()
    model(batch)
    assert torch.equal(everything(model.eval(), batch), found)


@every
def test_the_loss_reaches_every_parameter(make: Callable[[], Model]) -> None:
    model, (batch, target, _) = made(make).train(), labelled()
    predicted = model(batch)
    loss = model.loss(predicted, target)
    assert loss.shape[-1] == len(COUNTS)
    assert loss.dim() in {1, 2}
    regulariser = model.regulariser(predicted, target, rows=100)
    assert regulariser.shape == ()
    total = loss.mean() + regulariser
    assert total.isfinite()
    torch.autograd.backward(total)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every
def test_the_loss_can_be_evaluated(make: Callable[[], Model]) -> None:
    """Before a model is finished: this is how the epoch is chosen."""
    model, (batch, target, _) = unfinished(make), labelled()
    with torch.no_grad():
        losses = [model.loss(model(batch), target) for _ in range(2)]
    assert losses[0].isfinite().all()
    assert torch.equal(*losses)


@every
def test_copies_and_files_give_the_same_model(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    found = everything(model, batch)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(everything(again, batch), found)
    spec = json.loads(json.dumps(describe(model)))
    torch.manual_seed(77)
    again = build(spec).eval()
    assert describe(again) == describe(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    assert torch.equal(everything(again, batch), found)


@every
def test_a_copy_shares_nothing_with_its_model(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    found = everything(model, batch)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert not torch.equal(everything(other, batch), found)  # the draws follow the weights
    assert torch.equal(everything(model, batch), found)


@every
def test_describing_draws_no_random_number(make: Callable[[], Model]) -> None:
    model = unfinished(make)
    state = torch.get_rng_state()
    describe(model)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_inputs_of_any_float_type_are_converted(make: Callable[[], Model]) -> None:
    model = made(make)
    # Half precision has 11 bits: inputs of up to 3 are off by 1e-3, the peak by 10 times as much.
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float16, 2e-2)):
        outputs = model.outputs(jets(dtype))
        assert outputs.dtype == torch.float32
        torch.testing.assert_close(outputs, model.outputs(jets()), rtol=0, atol=tolerance)


@every
def test_a_model_in_double_precision_computes_in_double_precision(
    make: Callable[[], Model],
) -> None:
    model = made(make)
    single = everything(model, jets())
    double = everything(model.double(), jets())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


@every
def test_inputs_of_another_width_are_refused(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    assert batch.features is not None
    wide = Batch(batch.features.repeat(1, 3), jets().constituents)
    constituents = Ragged(torch.zeros(14, 4), torch.tensor([0, 4, 4, 5, 12, 12, 14]))
    wrong = [Batch(wide.features, constituents)]
    wrong += [wide] if getattr(model, "features", 2) else []
    for other in wrong:
        for evaluated in (model.outputs, model.member_outputs, model.members):
            with pytest.raises(ShapeError, match=r"needed: \(\.\.\., [23]\)"):
                evaluated(other)


def test_models_need_torch_and_numpy_only() -> None:
    code = """
import sys
for name in ("awkward", "scipy", "coffea", "uproot", "hist", "pydantic"):
    sys.modules[name] = None
import torch
import hepcalib.batch, hepcalib.calibration, hepcalib.losses, hepcalib.models, hepcalib.ragged
from hepcalib.models import MLP, Bayesian, MixtureHead
model = Bayesian(MLP(features=2, head=MixtureHead()), draws=3).eval()
members = model.head(model.member_outputs(hepcalib.batch.Batch(torch.zeros(4, 2))))
assert hepcalib.calibration.mode(hepcalib.calibration.pooled(members)).shape == (4,)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
