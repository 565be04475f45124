"""What every model of constituents promises, by itself and in each of the wrappers."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import models
from hepcalib.features.catalogue import feature
from hepcalib.models import BernoulliHead, Model
from hepcalib.models.stacking import stacked_outputs
from hepcalib.ragged import Ragged, from_awkward

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hepcalib.batch import Batch
    from tests.models.conftest import Example


def outputs(model: Model, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.outputs(batch)


def without_dropout(model: Model) -> Model:
    keywords = {**model.config, "head": model.head}
    return type(model)(**(keywords | {"dropout": 0.0} if "dropout" in keywords else keywords))


def test_every_model_of_constituents_is_covered(
    jet_models: dict[str, Callable[..., Model]], wrappers: dict[str, Callable[..., Model]]
) -> None:
    known = {
        name: inspect.signature(item).parameters
        for name in models.__all__
        if inspect.isclass(item := getattr(models, name)) and issubclass(item, Model)
    }
    assert {n for n, keywords in known.items() if "constituents" in keywords} == jet_models.keys()
    assert {n for n, keywords in known.items() if "model" in keywords} == wrappers.keys()


def test_leading_inputs_are_in_the_catalogue_as_they_are(of_jets: Example) -> None:
    for name in of_jets.make().leading:
        assert feature(name).kind == "constituent"
        assert [step["name"] for step in feature(name).transforms] == ["Identity"]


@pytest.mark.parametrize("counts", [(1,), (1, 1, 1), (1, 0, 2, 3), (2, 1, 30)])
def test_few_constituents(of_jets: Example, counts: tuple[int, ...]) -> None:
    """One, and fewer than there are neighbours or time steps elsewhere; in training as well."""
    model, batch = of_jets.made().double(), of_jets.jets(counts, dtype=torch.float64)
    found = outputs(model, batch)
    assert found.isfinite().all()
    for row in range(len(counts)):
        alone = outputs(model, batch.select(slice(row, row + 1)))
        torch.testing.assert_close(alone[0], found[row], rtol=0, atol=1e-12)
    trained = model.train().outputs(batch)
    assert trained.isfinite().all()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(trained.sum(), parameters, materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


# Models of all pairs have four million of them in the longest jets, which takes a minute.
@pytest.mark.parametrize("longest", [300, pytest.param(2000, marks=pytest.mark.validation)])
def test_long_jets(of_jets: Example, longest: int) -> None:
    model, batch = of_jets.made(), of_jets.jets((3, longest, 0, 1))
    found = outputs(model, batch)
    assert found.isfinite().all()
    short = torch.tensor([0, 2, 3])
    torch.testing.assert_close(
        outputs(model, batch.select(short)), found[short], rtol=1e-5, atol=1e-5
    )


def test_no_constituents_are_a_constant_without_gradient(of_jets: Example) -> None:
    model, batch = of_jets.made().double(), of_jets.jets((0, 5, 0, 1), dtype=torch.float64)
    assert batch.constituents is not None
    values = batch.constituents.values.clone().requires_grad_()
    batch = batch._replace(
        features=torch.ones(4, 2, dtype=torch.float64),
        constituents=Ragged(values, batch.constituents.offsets),
    )
    found = model.outputs(batch)
    empty, filled = found[0].sum() + found[2].sum(), found[1].sum() + found[3].sum()
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-15)
    (gradient,) = torch.autograd.grad(empty, values, materialize_grads=True, retain_graph=True)
    assert gradient.abs().max() == 0
    (gradient,) = torch.autograd.grad(filled, values)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_order_and_companions_change_the_last_digits_only(of_jets: Example) -> None:
    model, batch = of_jets.made().double(), of_jets.jets((9, 40, 0, 8, 1, 7), dtype=torch.float64)
    assert batch.constituents is not None
    found = outputs(model, batch)
    reverse = torch.cat([part.flip(0) for part in parts(batch.constituents)])
    other = batch._replace(constituents=Ragged(reverse, batch.constituents.offsets))
    torch.testing.assert_close(outputs(model, other), found, rtol=0, atol=1e-12)
    # Beside jets of other lengths the padding, where there is one, is another.
    for rows in ([0, 3], [3, 5], [1, 5, 2]):
        some = outputs(model, batch.select(torch.tensor(rows)))
        torch.testing.assert_close(some, found[rows], rtol=0, atol=1e-13)


def test_constituents_matter(of_jets: Example) -> None:
    """The negative control of all that does not."""
    model, batch = of_jets.made(), of_jets.jets()
    assert batch.constituents is not None
    values = batch.constituents.values
    without = batch._replace(
        constituents=Ragged(values[:-1], batch.constituents.offsets.clamp(max=13))
    )
    found, other = outputs(model, batch), outputs(model, without)
    assert torch.equal(found[:-1], other[:-1]) or torch.allclose(found[:-1], other[:-1], rtol=1e-4)
    assert not torch.allclose(found[-1], other[-1], rtol=1e-3)


def parts(ragged: Ragged) -> list[Tensor]:
    edges = ragged.offsets.tolist()
    return [ragged.values[start:stop] for start, stop in pairwise(edges)]


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2"])
def test_numbers_of_any_kind(of_jets: Example, kind: str) -> None:
    """Columns of files, as regular arrays of any byte order and as jagged ones of this machine."""
    model, batch = of_jets.made(), of_jets.jets((4, 4, 4))
    assert batch.constituents is not None
    columns = batch.constituents.values.T.reshape(-1, 3, 4).numpy().astype(kind)
    expected = torch.from_numpy(columns.astype(np.float32)).reshape(len(columns), 12).T
    named = {str(number): column for number, column in enumerate(columns)}
    native = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in named.items()}
    jagged = {name: ak.from_regular(ak.Array(column)) for name, column in native.items()}
    rows = Ragged(expected.contiguous(), batch.constituents.offsets)
    for given in (named, jagged):
        read = from_awkward(given, list(given))
        found = outputs(model, batch._replace(constituents=read))
        assert torch.equal(found, outputs(model, batch._replace(constituents=rows)))


@pytest.mark.parametrize("training", [False, True])
def test_stacked_networks_are_those_one_by_one(of_jets: Example, training: bool) -> None:
    batch = of_jets.jets((5, 0, 1, 12), dtype=torch.float64)
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(without_dropout(of_jets.make()).double().train(training))
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    stacked, buffers = (
        {name: torch.stack([n.state_dict()[name] for n in networks]) for name, _ in named}
        for named in (networks[0].named_parameters(), networks[0].named_buffers())
    )
    expected = torch.stack([network.outputs(batch) for network in networks])
    found = stacked_outputs(networks[0], stacked, batch, buffers=buffers)
    for name, values in buffers.items():  # which follow a training
        after = torch.stack([network.state_dict()[name] for network in networks])
        torch.testing.assert_close(values, after, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert expected.std(0).max() > 1e-3


def test_each_wrapper_trains_and_predicts(wrapped_one: Example) -> None:
    torch.manual_seed(2)
    model, (batch, target, *_) = wrapped_one.make().train(), wrapped_one.labelled()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(2):
        optimiser.zero_grad()
        predicted = model(batch)
        loss = model.weighted_loss(predicted, target, torch.ones_like(target)).mean()
        loss = loss + model.regulariser(predicted, target, rows=100)
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.isfinite()
    moved = [
        name for name, value in model.named_parameters() if not torch.equal(value, before[name])
    ]
    assert moved == list(before)
    model.eval().finish(wrapped_one.labelled(), wrapped_one.labelled())
    found = wrapped_one.everything(model, batch)
    assert found.isfinite().all()
    some = torch.tensor([3, 1, 5])
    alone = wrapped_one.everything(model, batch.select(some))
    torch.testing.assert_close(alone, found[some], rtol=1e-5, atol=1e-5)
    assert not isinstance(model.head, BernoulliHead)
    assert (model.members(batch).variance > 0).all()
