"""What every model promises; a new one is covered once it is among the examples in conftest."""

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
    Bayesian,
    DeepEnsemble,
    Dropout,
    Evidential,
    Laplace,
    Model,
    build,
    describe,
)
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tests.models.conftest import Example

ROWS, DRAWS = 6, 3  # of the examples
SEVERAL = (Bayesian, DeepEnsemble, Dropout, Laplace)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the outputs, which are sums of numbers of the order of one."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_every_model_has_an_example(examples: dict[str, Callable[[], Model]]) -> None:
    classes = {name: getattr(models, name) for name in models.__all__}
    concrete = {
        name
        for name, item in classes.items()
        if inspect.isclass(item) and issubclass(item, Model) and not inspect.isabstract(item)
    }
    assert concrete == examples.keys()
    assert all(type(make()).__name__ == name for name, make in examples.items())


def test_one_distribution_per_row(example: Example) -> None:
    model, batch = example.made(), example.jets()
    outputs = model.outputs(batch)
    assert outputs.shape == (ROWS, model.head.outputs)
    assert outputs.dtype == torch.float32
    together = isinstance(getattr(model, "model", model), DeepEnsemble)
    together = together or isinstance(model, DeepEnsemble)
    assert model(batch).batch_shape == ((DRAWS, ROWS) if together else (ROWS,))
    members = model.members(batch)
    expected = 8 if isinstance(model, Evidential) else 1
    if any(isinstance(part, SEVERAL) for part in model.modules()):
        expected = DRAWS
    assert members.batch_shape == (expected, ROWS)
    assert members.mean.shape == members.variance.shape == (expected, ROWS)
    drawn = model.member_outputs(batch)
    assert drawn.shape == (1 if isinstance(model, Evidential) else expected, *outputs.shape)
    # Rows and members differ: the tests below would notice a mix-up.
    assert members.mean.std(1).min() > 1e-3
    assert expected == 1 or members.mean.std(0).min() > 1e-4


def test_no_rows(example: Example) -> None:
    model = example.made()
    empty = example.everything(model, example.jets().select(slice(0, 0)))
    assert empty.shape == (0, example.everything(model, example.jets()).shape[1])


def test_rows_without_constituents_are_finite_and_stay_so_alone(example: Example) -> None:
    model, batch = example.made(), example.jets()
    empty = torch.tensor([1, 4])
    found = example.everything(model, batch)
    assert found.isfinite().all()
    assert_close(example.everything(model, batch.select(empty)), found[empty])


def test_neighbours_and_order_of_rows_do_not_matter(example: Example) -> None:
    model, batch = example.made(), example.jets()
    found = example.everything(model, batch)
    for row in range(ROWS):
        alone = example.everything(model, batch.select(slice(row, row + 1)))
        assert_close(alone[0], found[row])
    order = torch.tensor([3, 5, 0, 2, 2, 1])
    assert_close(example.everything(model, batch.select(order)), found[order])


def test_block_size_does_not_matter(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = example.made(), example.jets()
    found = example.everything(model, batch)
    rooms = [room for name, room in sys.modules.items() if name.startswith("hepcalib.models.")]
    for block in (1, 5, 7, 1000):
        for room in rooms:
            for name in {"BLOCK", "CELLS"} & vars(room).keys():
                monkeypatch.setattr(room, name, block)
        assert_close(example.everything(model, batch), found)


def test_order_of_constituents_does_not_matter(example: Example) -> None:
    model, batch = example.made(), example.jets()
    assert batch.constituents is not None
    ids = batch.constituents.row_ids()
    shuffled = torch.randperm(len(ids), generator=torch.Generator().manual_seed(3))
    shuffled = shuffled[ids[shuffled].argsort(stable=True)]  # within each jet
    values = batch.constituents.values[shuffled]
    assert not torch.equal(values, batch.constituents.values)
    permuted = batch._replace(constituents=Ragged(values, batch.constituents.offsets))
    assert_close(example.everything(model, permuted), example.everything(model, batch))


def test_values_outside_the_rows_do_not_matter(example: Example) -> None:
    model, batch = example.made(), example.jets()
    assert batch.constituents is not None
    nan = torch.full((2, batch.constituents.values.shape[1]), torch.nan)
    values = torch.cat([nan, batch.constituents.values, nan])
    loose = batch._replace(constituents=Ragged(values, batch.constituents.offsets + 2))
    found = example.everything(model, loose)
    assert torch.equal(found, example.everything(model, batch))


def test_a_prediction_can_be_repeated(example: Example) -> None:
    model, batch = example.made(), example.jets()
    found = example.everything(model, batch)
    torch.rand(5)
    assert torch.equal(example.everything(model, batch), found)
    state = copy.deepcopy(model.state_dict())
    model.train()
    model(batch)
    model.load_state_dict(state)  # means of the inputs of a layer, which follow the training
    assert torch.equal(example.everything(model.eval(), batch), found)


def test_the_loss_reaches_every_parameter(example: Example) -> None:
    model, (batch, target, *_) = example.made().train(), example.labelled()
    predicted = model(batch)
    loss = model.loss(predicted, target)
    assert loss.shape[-1] == ROWS
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


def test_the_loss_can_be_evaluated(example: Example) -> None:
    """Before a model is finished: this is how the epoch is chosen."""
    model, (batch, target, *_) = example.unfinished(), example.labelled()
    with torch.no_grad():
        losses = [model.loss(model(batch), target) for _ in range(2)]
    assert losses[0].isfinite().all()
    assert torch.equal(*losses)


def test_copies_and_files_give_the_same_model(example: Example) -> None:
    model, batch = example.made(), example.jets()
    found = example.everything(model, batch)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(example.everything(again, batch), found)
    spec = json.loads(json.dumps(describe(model)))
    torch.manual_seed(77)
    again = build(spec).eval()
    assert describe(again) == describe(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    assert torch.equal(example.everything(again, batch), found)


def test_a_copy_shares_nothing_with_its_model(example: Example) -> None:
    model, batch = example.made(), example.jets()
    found = example.everything(model, batch)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    # The draws follow the weights.
    assert not torch.equal(example.everything(other, batch), found)
    assert torch.equal(example.everything(model, batch), found)


def test_describing_draws_no_random_number(example: Example) -> None:
    model = example.unfinished()
    state = torch.get_rng_state()
    describe(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_of_any_float_type_are_converted(example: Example) -> None:
    model = example.made()
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        batch = example.jets(dtype=dtype)
        outputs = model.outputs(batch)
        assert outputs.dtype == torch.float32
        assert_close(outputs, model.outputs(batch.to(dtype=torch.float32)))


def test_a_model_in_double_precision_computes_in_double_precision(example: Example) -> None:
    model = example.made()
    single = example.everything(model, example.jets())
    double = example.everything(model.double(), example.jets())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_inputs_of_another_width_are_refused(example: Example) -> None:
    model, batch = example.made(), example.jets()
    assert batch.features is not None
    assert batch.constituents is not None
    wide = Batch(batch.features.repeat(1, 3), batch.constituents)
    values = batch.constituents.values
    constituents = Ragged(torch.cat([values, values], dim=1), batch.constituents.offsets)
    wrong = [Batch(wide.features, constituents)]
    wrong += [wide] if getattr(model, "features", 2) else []
    for other in wrong:
        for evaluated in (model.outputs, model.member_outputs, model.members):
            with pytest.raises(ShapeError, match=r"needed: \(\.\.\., [2-6]\)"):
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
