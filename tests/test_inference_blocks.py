"""Blocks on their way to a device and back, with a device that only keeps a diary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.inference import blocks, transfer
from hepcalib.inference.blocks import block_limit, streamed
from hepcalib.inference.transfer import Direct, Fetched, Pinned, Staged
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def jets(rows: int = 50, *, seed: int = 1) -> Batch:
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 9, (rows,), generator=random)
    values = torch.randn(int(counts.sum()), 3, generator=random)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Batch(torch.randn(rows, 2, generator=random), Ragged(values, offsets))


def total(batch: Batch, rows: slice) -> dict[str, Tensor]:
    """The sum of all features of each row, and its number."""
    assert batch.features is not None
    assert batch.constituents is not None
    sums = batch.features.sum(1) + batch.constituents.sum().sum(1)
    return {"sum": sums, "row": torch.arange(rows.start, rows.stop)}


def expected(batch: Batch) -> dict[str, Any]:
    return {name: value.numpy() for name, value in total(batch, slice(0, batch.rows)).items()}


class Diary(Direct):
    """Writes down what happens when; blocks are numbered by their first row."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, batch: Batch) -> Staged:
        self.lines.append("stage")
        return super().stage(batch)

    def take(self, staged: Staged) -> Batch:
        self.lines.append("compute")
        return super().take(staged)

    def fetch(self, results: Mapping[str, Tensor]) -> Fetched:
        lines = self.lines

        class Late(Fetched):
            def numpy(self) -> dict[str, Any]:
                lines.append("wait")
                return super().numpy()

        return Late(results)


@pytest.mark.parametrize("limit", [None, 1, 7, 30, 10_000])
def test_results_are_those_of_all_rows_at_once(limit: int | None) -> None:
    batch = jets()
    found = streamed(total, batch, device=CPU, limit=limit)
    np.testing.assert_array_equal(found["row"], np.arange(batch.rows))
    # sums of at most 26 single numbers of order 1
    np.testing.assert_allclose(found["sum"], expected(batch)["sum"], atol=1e-5)
    assert len(np.unique(found["sum"])) == batch.rows  # the control: rows differ


@pytest.mark.parametrize("limit", [1, 7, 30])
def test_blocks_are_bounded(limit: int) -> None:
    batch, sizes = jets(), []

    def evaluate(block: Batch, rows: slice) -> dict[str, Tensor]:
        assert block.constituents is not None
        sizes.append((block.rows, block.rows + block.constituents.items))
        return total(block, rows)

    streamed(evaluate, batch, device=CPU, limit=limit)
    assert all(size <= limit or rows == 1 for rows, size in sizes)
    assert sum(rows for rows, _ in sizes) == batch.rows


def test_a_block_is_sent_while_another_is_computed() -> None:
    diary = Diary()
    batch = Batch(torch.zeros(12, 1))

    def evaluate(block: Batch, rows: slice) -> dict[str, Tensor]:
        return {"row": torch.arange(rows.start, rows.start + block.rows)}

    found = streamed(evaluate, batch, device=CPU, limit=3, transfer=diary)
    assert found["row"].tolist() == list(range(12))
    # a block is on its way before the one ahead of it is computed, and nobody waits for a result
    # before the next computation has begun
    assert diary.lines == [
        *("stage", "stage", "compute"),
        *("stage", "compute", "wait"),
        *("stage", "compute", "wait"),
        *("compute", "wait", "wait"),
    ]


def test_nothing_is_computed_for_no_rows() -> None:
    diary = Diary()
    assert streamed(total, jets(0), device=CPU, transfer=diary) == {}
    assert diary.lines == []


class Small:
    """A device whose memory holds a number of objects and constituents."""

    def __init__(self, room: int) -> None:
        self.room, self.refused = room, 0

    def __call__(self, batch: Batch, rows: slice) -> dict[str, Tensor]:
        assert batch.constituents is not None
        if batch.rows + batch.constituents.items > self.room:
            self.refused += 1
            msg = "out of memory"
            raise torch.OutOfMemoryError(msg)
        return total(batch, rows)


@pytest.mark.parametrize("room", [9, 20, 100])
def test_blocks_are_halved_until_memory_suffices(room: int) -> None:
    batch, device = jets(), Small(room)
    found = streamed(device, batch, device=CPU)
    np.testing.assert_allclose(found["sum"], expected(batch)["sum"], atol=1e-5)
    assert batch.constituents is not None
    size = batch.rows + batch.constituents.items
    assert 1 <= device.refused <= np.ceil(np.log2(size / room)) + 1


def test_memory_for_one_object_is_needed() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        streamed(Small(0), jets(), device=CPU)


def test_other_errors_are_not_caught() -> None:
    def broken(_: Batch, __: slice) -> dict[str, Tensor]:
        msg = "an error of the model"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="an error of the model"):
        streamed(broken, jets(), device=CPU)


def test_a_small_gpu_gets_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 0

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    limits = []
    for gigabytes in (0, 8, 16, 140):
        Properties.total_memory = gigabytes * 2**30
        limits.append(block_limit(torch.device("cuda")))
    assert limits == [1, 65_536, 131_072, 1_048_576]
    assert block_limit(CPU) == blocks._CPU_LIMIT


def test_the_cpu_gets_what_is_there() -> None:
    batch = jets()
    direct = transfer.transfer_to(CPU)
    assert direct.take(direct.stage(batch)) is batch
    value = torch.arange(3)
    value += 1
    fetched = direct.fetch({"x": value}).numpy()
    assert fetched["x"].tolist() == [1, 2, 3]


@needs_gpu
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_block_arrives_on_the_gpu(order: str, pinned: bool) -> None:
    batch = jets()
    assert batch.constituents is not None
    values, offsets = batch.constituents.values, batch.constituents.offsets
    if order == "F":
        values = values.t().contiguous().t()
    if pinned:
        values = values.pin_memory()
    batch = batch._replace(constituents=Ragged(values, offsets)).select(slice(10, 40))
    way = Pinned(torch.device("cuda"))
    found = way.take(way.stage(batch))
    assert batch.features is not None
    assert found.features is not None
    assert found.constituents is not None
    assert found.features.is_cuda
    assert torch.equal(found.features.cpu(), batch.features)
    assert batch.constituents is not None
    packed = batch.constituents.packed()
    assert torch.equal(found.constituents.values.cpu(), packed.values)
    assert torch.equal(found.constituents.offsets.cpu(), packed.offsets)
    fetched = way.fetch({"x": found.features * 2})
    assert fetched.values["x"].is_pinned()
    np.testing.assert_array_equal(fetched.numpy()["x"], batch.features.numpy() * 2)


@needs_gpu
@pytest.mark.parametrize("limit", [None, 7, 100])
def test_the_gpu_agrees_with_the_cpu(limit: int | None) -> None:
    batch = jets(500)

    def evaluate(block: Batch, rows: slice) -> dict[str, Tensor]:
        assert block.features is not None
        return {**total(block, rows), "device": torch.full((block.rows,), block.features.is_cuda)}

    found = streamed(evaluate, batch, device=torch.device("cuda"), limit=limit)
    assert found["device"].all()
    np.testing.assert_allclose(found["sum"], expected(batch)["sum"], atol=1e-5)
