from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from torch import nn

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import Bayesian, Dropout, NormalHead
from hepcalib.models import recurrent as module
from hepcalib.models.recurrent import Recurrent
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from torch import Tensor

Cell = Literal["gru", "lstm"]
both = pytest.mark.parametrize("cell", ["lstm", "gru"])
COUNTS = (3, 0, 1, 9, 4, 0, 4)


def network(cell: Cell = "lstm", **keywords: object) -> Recurrent:
    torch.manual_seed(3)
    chosen: dict[str, object] = {"constituents": 3, "order": 1, "hidden": 5, "f": (6,), **keywords}
    return Recurrent(cell=cell, head=NormalHead(), **chosen).double()  # type: ignore[arg-type]  # keywords of several types


def jets(counts: tuple[int, ...] = COUNTS) -> Ragged:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(sum(counts), 3, generator=generator, dtype=torch.float64)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    return Ragged(values, offsets)


def rows(ragged: Ragged) -> list[Tensor]:
    values = ragged.packed().values
    return [values[start:stop] for start, stop in pairwise(ragged.packed().offsets.tolist())]


def reference(model: Recurrent) -> nn.LSTM | nn.GRU:
    """The layer of torch with the weights of the model."""
    kind = nn.LSTM if model.cell == "lstm" else nn.GRU
    layer = kind(model.constituents, model.hidden, batch_first=True).double()
    of_state = model.state.bias if model.cell == "gru" else torch.zeros(4 * model.hidden)
    weights = {
        "weight_ih_l0": model.inputs.weight,
        "bias_ih_l0": model.inputs.bias,
        "weight_hh_l0": model.state.weight,
        "bias_hh_l0": of_state,
    }
    layer.load_state_dict(weights)
    return layer


@both
def test_equals_the_layer_of_torch_jet_by_jet(cell: Cell) -> None:
    model, ragged = network(cell), jets()
    layer = reference(model)
    last = []
    for row in rows(ragged):
        ordered = row[row[:, 1].argsort(descending=True)]
        states = layer(ordered.unsqueeze(0))[0][0] if len(row) else torch.zeros(1, 5).double()
        last.append(states[-1])
    expected = model.f(torch.stack(last))
    found = model.outputs(Batch(constituents=ragged))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@both
def test_gradients_equal_those_of_the_layer_of_torch(cell: Cell) -> None:
    model, ragged = network(cell), jets((6,))
    layer = reference(model)
    values = ragged.values[ragged.values[:, 1].argsort(descending=True)]
    theirs = model.f(layer(values.unsqueeze(0))[0][:, -1]).sum()
    ours = model.outputs(Batch(constituents=ragged)).sum()
    names = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0")
    expected = torch.autograd.grad(theirs, [layer.get_parameter(name) for name in names])
    parameters = [model.inputs.weight, model.inputs.bias, model.state.weight]
    for found, gradient in zip(torch.autograd.grad(ours, parameters), expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=0, atol=1e-10)


def test_order_is_that_of_the_column_and_then_that_given() -> None:
    model, ragged = network(), jets((8,))
    found = model.outputs(Batch(constituents=ragged))
    shuffled = Ragged(ragged.values.flip(0), ragged.offsets)
    torch.testing.assert_close(model.outputs(Batch(constituents=shuffled)), found)
    # Equal in that column, they come as given, and their order matters.
    equal = ragged.values.clone()
    equal[:, 1] = 0.5
    as_given, reverse = (
        model.outputs(Batch(constituents=Ragged(values, ragged.offsets)))
        for values in (equal, equal.flip(0))
    )
    assert not torch.allclose(as_given, reverse, rtol=1e-3)
    layer = reference(model)
    torch.testing.assert_close(as_given, model.f(layer(equal.unsqueeze(0))[0][:, -1]))


def test_another_order_is_another_result() -> None:
    ragged = jets((8,))
    first, second = network(order=0), network(order=2)
    second.load_state_dict(first.state_dict())
    batch = Batch(constituents=ragged)
    assert not torch.allclose(first.outputs(batch), second.outputs(batch), rtol=1e-3)


@both
def test_no_constituents_is_the_state_zero(cell: Cell) -> None:
    model = network(cell, features=1)
    ragged = Ragged(torch.zeros(0, 3), torch.zeros(3, dtype=torch.int64))
    features = torch.tensor([[0.5], [-2.0]], dtype=torch.float64)
    latent = torch.cat([torch.zeros(2, 5).double(), features], dim=1)
    found = model.outputs(Batch(features, ragged))
    torch.testing.assert_close(found, model.f(latent))


@both
def test_long_jets_beside_short_ones(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ragged = network(cell), jets((2000, 1, 0, 30, 2000))
    values = ragged.values.clone().requires_grad_()
    found = model.outputs(Batch(constituents=Ragged(values, ragged.offsets)))
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert gradient.isfinite().all()
    monkeypatch.setattr(module, "BLOCK", 100)
    torch.testing.assert_close(model.outputs(Batch(constituents=ragged)), found, rtol=1e-12, atol=0)


def test_only_running_jets_take_a_step() -> None:
    ragged = jets((4, 2, 1, 0))
    index, running = module.time_steps(ragged, 1)
    assert running == [3, 2, 1, 1]
    column = ragged.values[:, 1]
    ranked = [row[:, 1].sort(descending=True).values for row in rows(ragged)]
    expected = [row[step] for step in range(4) for row in ranked if step < len(row)]
    assert column[index].tolist() == [float(value) for value in expected]


def test_one_draw_of_the_weights_serves_all_steps() -> None:
    model = Bayesian(network("gru"), initial_log_variance=-2.0).train()
    inner = model.model
    assert isinstance(inner, Recurrent)
    calls: list[int] = []
    inner.state.register_forward_hook(lambda *_: calls.append(1))
    model.outputs(Batch(constituents=jets()))
    assert len(calls) == 1


def test_dropout_of_the_state_is_the_same_in_each_step() -> None:
    model = Dropout(network("gru"), rate=0.5, draws=4)
    plain = network("gru")
    weights = model.stacked()
    plain.load_state_dict(model.model.state_dict())
    drawn = model.member_outputs(Batch(constituents=jets()))
    for member, found in enumerate(drawn):
        state = {**plain.state_dict(), **{name: value[member] for name, value in weights.items()}}
        other = network("gru")
        other.load_state_dict(state)
        torch.testing.assert_close(other.outputs(Batch(constituents=jets())), found)


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="order is 3 of 3 constituent features"):
        network(order=3)
    with pytest.raises(ConfigError, match="cell is 'rnn'; needed: one of gru, lstm"):
        network("rnn")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="hidden 0"):
        network(hidden=0)
    with pytest.raises(ConfigError, match=r"Recurrent f: layer widths are \[5, 0\]"):
        network(f=(0,))
    with pytest.raises(ShapeError, match="Recurrent: constituents of the batch: none"):
        network().outputs(Batch(torch.zeros(1, 1)))
