from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import DataError, ShapeError, TrainingError
from hepcalib.ragged import Ragged
from hepcalib.training import Examples
from hepcalib.training.examples import require_classes, require_learnable, require_penalisable

if TYPE_CHECKING:
    from collections.abc import Callable


def examples(rows: int = 4) -> Examples:
    return Examples(
        batch=Batch(features=torch.zeros(rows, 2)),
        target=torch.arange(rows) % 2 * 1.0,
        weight=torch.ones(rows),
        nuisance=torch.arange(rows) * 1.0,
        background=torch.arange(rows) % 2 == 0,
        auxiliary=torch.arange(rows * 2.0).reshape(rows, 2),
    )


def replaced(name: str, part: torch.Tensor | None) -> Examples:
    parts: dict[str, Any] = {**examples()._asdict(), name: part}
    return Examples(**parts)


def with_value(values: torch.Tensor | None, row: int, value: float) -> torch.Tensor:
    assert values is not None
    changed = values.clone()
    changed[row] = value
    return changed


@pytest.mark.parametrize("require", [require_learnable, require_classes, require_penalisable])
def test_good_examples_are_accepted_as_they_are(require: Callable[[Examples, str], None]) -> None:
    given, same = examples(), examples()
    assert require(given, "training") is None  # type: ignore[func-returns-value]  # that it returns nothing is tested
    assert given.batch.features is not None
    assert not given.batch.features.any()
    for part, untouched in zip(given[1:], same[1:], strict=True):
        assert isinstance(part, torch.Tensor)
        assert isinstance(untouched, torch.Tensor)
        assert torch.equal(part, untouched)
    # The control: each of them refuses something.
    with pytest.raises(TrainingError):
        require(examples(1)._replace(target=torch.ones(1), weight=torch.zeros(1)), "training")


def test_selection_keeps_rows_together() -> None:
    constituents = Ragged.from_rows([[[1.0]], [], [[3.0], [3.5]], [[4.0]]])
    all_ = examples()._replace(batch=Batch(constituents=constituents))
    chosen = all_.select(torch.tensor([2, 1, 2]))
    assert chosen.batch.constituents is not None
    assert chosen.batch.constituents.tolist() == [[[3.0], [3.5]], [], [[3.0], [3.5]]]
    assert chosen.target.tolist() == [0, 1, 0]
    assert chosen.nuisance is not None
    assert chosen.nuisance.tolist() == [2, 1, 2]
    assert chosen._replace(weight=None).select(torch.tensor([0])).weight is None


def test_empty_sample_is_refused() -> None:
    with pytest.raises(TrainingError, match="the validation sample is empty"):
        require_learnable(examples(0), "validation")


@pytest.mark.parametrize("name", ["target", "weight", "nuisance", "background"])
def test_other_lengths_are_refused(name: str) -> None:
    broken = replaced(name, torch.zeros(3))
    with pytest.raises(ShapeError, match=rf"training {name} has shape \(3,\); needed: \(4,\)"):
        require_learnable(broken, "training")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_targets_and_weights_are_refused(value: float) -> None:
    for name in ("target", "weight"):
        values = with_value(getattr(examples(), name), 2, value)
        with pytest.raises(DataError, match=rf"{name} is not finite for 1 of 4, first in row 2"):
            require_learnable(replaced(name, values), "training")


def test_negative_weights_are_fine_but_their_sum_must_be_positive() -> None:
    some = with_value(examples().weight, 0, -2.0)
    require_learnable(examples()._replace(weight=some), "training")
    with pytest.raises(TrainingError, match="weights sum to -4"):
        require_learnable(examples()._replace(weight=-torch.ones(4)), "training")


@pytest.mark.parametrize(("value", "missing"), [(0.0, "signal"), (1.0, "background")])
def test_one_class_is_refused(value: float, missing: str) -> None:
    only = examples()._replace(target=torch.full((4,), value))
    with pytest.raises(TrainingError, match=f"there is no {missing}"):
        require_classes(only, "training")


def test_targets_of_a_tagger_are_probabilities() -> None:
    with pytest.raises(DataError, match=r"from -1.0 to 1.0; needed: 0 to 1"):
        require_classes(examples()._replace(target=torch.tensor([-1.0, 1, 1, 1])), "training")


def test_penalty_needs_nuisance_and_both_classes() -> None:
    for name in ("nuisance", "background"):
        with pytest.raises(TrainingError, match="needs the nuisance and the background mask"):
            require_penalisable(replaced(name, None), "training")
    for count in (0, 1, 4):
        mask = torch.arange(4) < count
        with pytest.raises(TrainingError, match=rf"{count} of 4 training rows are background"):
            require_penalisable(examples()._replace(background=mask), "training")


def test_penalty_refuses_bad_values_of_the_background_only() -> None:
    for name, value, message in (
        ("nuisance", math.nan, "nuisance of the background is not finite for 1 of 2"),
        ("weight", -1.0, "1 of 2 background rows .* negative weight"),
        ("auxiliary", math.nan, "auxiliary input of the background is not finite for 1 of 2"),
    ):
        values = getattr(examples(), name)
        signal_only = replaced(name, with_value(values, 1, value))
        require_penalisable(signal_only, "training")
        broken = replaced(name, with_value(values, 2, value))
        with pytest.raises(DataError, match=message):
            require_penalisable(broken, "training")
        with pytest.raises(DataError, match=r"of all rows is not|1 of 4 all rows"):
            require_penalisable(signal_only, "training", acts_on="all")
