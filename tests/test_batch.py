from __future__ import annotations

import pickle

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.ragged import Ragged

FEATURES = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
CONSTITUENTS = Ragged.from_rows([[[1.0], [2.0]], [], [[3.0]]])


@pytest.mark.parametrize(
    "rows", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True])]
)
def test_select_keeps_both_parts_together(rows: slice | torch.Tensor) -> None:
    batch = Batch(FEATURES, CONSTITUENTS).select(rows)
    assert batch.rows == 2
    assert batch.features is not None
    assert batch.constituents is not None
    assert batch.features.tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert batch.constituents.tolist() == [[], [[3.0]]]


def test_one_part_is_enough() -> None:
    assert Batch(FEATURES).rows == Batch(constituents=CONSTITUENTS).rows == 3
    assert Batch(FEATURES).select(slice(0, 1)).constituents is None
    assert Batch(constituents=CONSTITUENTS).to(dtype=torch.float64).features is None


def test_to_converts_both_parts() -> None:
    batch = Batch(FEATURES, CONSTITUENTS).to("cpu", torch.float64)
    assert batch.features is not None
    assert batch.constituents is not None
    assert batch.features.dtype == batch.constituents.values.dtype == torch.float64


def test_pickle() -> None:
    again = pickle.loads(pickle.dumps(Batch(FEATURES, CONSTITUENTS)))
    assert again.rows == 3
    assert torch.equal(again.features, FEATURES)


@pytest.mark.parametrize(
    "batch",
    [
        Batch(),
        Batch(FEATURES[:2], CONSTITUENTS),
        Batch(FEATURES[0]),
        Batch(constituents=Ragged.from_rows([[1.0]])),
    ],
)
def test_parts_that_do_not_fit_are_refused(batch: Batch) -> None:
    with pytest.raises(ShapeError, match="Batch"):
        _ = batch.rows
    with pytest.raises(ShapeError, match="Batch"):
        batch.select(slice(0, 1))


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="mask"):
        Batch(FEATURES).select(torch.ones(2, dtype=torch.bool))
