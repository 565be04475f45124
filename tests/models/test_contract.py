"""What every model promises; a new one is covered once it is in EXAMPLES."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    MixtureHead,
    Model,
    NormalHead,
    build,
    describe,
)
from hepcalib.models import pfn as pfn_module
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

COUNTS = (4, 0, 1, 7, 0, 2)  # constituents of each jet


def small_pfn(head: models.Head) -> PFN:
    return PFN(constituents=3, features=2, phi=(16, 16), f=(16,), head=head)


EXAMPLES: dict[str, Callable[[], Model]] = {
    "MLP": lambda: MLP(features=2, hidden=(16, 16), head=MixtureHead()),
    "PFN": lambda: small_pfn(BernoulliHead()),
    "Bayesian": lambda: Bayesian(MLP(features=2, head=NormalHead()), draws=3),
}
MORE: dict[str, Callable[[], Model]] = {
    "PFN without features": lambda: PFN(
        constituents=3, phi=(16,), f=(), head=NormalHead(), activation="gelu"
    ),
    "Bayesian PFN": lambda: Bayesian(small_pfn(MixtureHead(2)), draws=3, seed=5),
}
ALL = EXAMPLES | MORE
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


def jets(dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor(COUNTS)
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    features = torch.randn(len(COUNTS), 2, generator=generator)
    return Batch(features, Ragged(values, offsets)).to(dtype=dtype)


def made(make: Callable[[], Model]) -> Model:
    """The model with weights that matter: the last layer starts near zero."""
    torch.manual_seed(2)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.mean() > -5:  # not the log-variances
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return model


def everything(model: Model, batch: Batch) -> Tensor:
    return torch.cat([model.outputs(batch).unsqueeze(0), model.member_outputs(batch)])


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


@every
def test_one_distribution_per_row(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    outputs = model.outputs(batch)
    assert outputs.shape == (len(COUNTS), model.head.outputs)
    assert outputs.dtype == torch.float32
    assert model(batch).batch_shape == (len(COUNTS),)
    members = model.member_outputs(batch)
    assert members.shape == (getattr(model, "draws", 1), *outputs.shape)
    assert model.head(members).mean.shape == members.shape[:2]
    assert outputs.std(0).min() > 1e-2  # rows differ: the tests below would notice a mix-up


@every
def test_no_rows(make: Callable[[], Model]) -> None:
    model = made(make)
    assert everything(model, jets().select(slice(0, 0))).shape[1:] == (0, model.head.outputs)


@every
def test_rows_without_constituents_are_finite_and_stay_so_alone(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    empty = torch.tensor([1, 4])
    outputs = everything(model, batch)
    assert outputs.isfinite().all()
    assert_close(everything(model, batch.select(empty)), outputs[:, empty])


@every
def test_neighbours_and_order_of_rows_do_not_matter(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    outputs = everything(model, batch)
    for row in range(len(COUNTS)):
        alone = everything(model, batch.select(slice(row, row + 1)))
        assert_close(alone[:, 0], outputs[:, row])
    order = torch.tensor([3, 5, 0, 2, 2, 1])
    assert_close(everything(model, batch.select(order)), outputs[:, order])


@every
def test_block_size_does_not_matter(
    make: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = made(make), jets()
    outputs = everything(model, batch)
    for block in (1, 5, 7, 1000):
        monkeypatch.setattr(pfn_module, "BLOCK", block)
        assert_close(everything(model, batch), outputs)


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
def test_gradient_reaches_every_parameter(make: Callable[[], Model]) -> None:
    model = made(make).train()
    target = torch.linspace(0.0, 1.0, len(COUNTS))
    loss = -model(jets()).log_prob(target).mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every
def test_pickle_and_description_give_the_same_model(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    outputs = everything(model, batch)
    assert torch.equal(everything(pickle.loads(pickle.dumps(model)), batch), outputs)
    spec = json.loads(json.dumps(describe(model)))
    again = build(spec).eval()
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    assert torch.equal(everything(again, batch), outputs)


@every
def test_describing_draws_no_random_number(make: Callable[[], Model]) -> None:
    model = made(make)
    state = torch.get_rng_state()
    describe(model)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_inputs_of_any_float_type_are_converted(make: Callable[[], Model]) -> None:
    model = made(make)
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
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@every
def test_inputs_of_another_width_are_refused(make: Callable[[], Model]) -> None:
    model, batch = made(make), jets()
    assert batch.features is not None
    wide = Batch(batch.features.repeat(1, 3), jets().constituents)
    constituents = Ragged(torch.zeros(14, 4), torch.tensor([0, 4, 4, 5, 12, 12, 14]))
    wrong = [Batch(wide.features, constituents)]
    wrong += [wide] if getattr(model, "features", 2) else []
    for other in wrong:
        with pytest.raises(ShapeError, match=r"needed: \(\.\.\., [23]\)"):
            model.outputs(other)


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
