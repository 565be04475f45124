from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepcalib.exceptions import ConfigError
from hepcalib.ntuples import FileSummary
from hepcalib.run import Chunk, Dataset
from hepcalib.run.chunks import plan


def _dataset(name: str, entries: list[int]) -> Dataset:
    files = [
        FileSummary(f"{name}{i}.root", "Events", n, float(n), f"{name}{i}")
        for i, n in enumerate(entries)
    ]
    return Dataset(name, tuple(files), "nanoaod_ak4", {"year": 2024})


@given(
    entries=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    size=st.integers(1, 120),
    limit=st.none() | st.integers(1, 500),
)
def test_every_entry_is_in_exactly_one_chunk(
    entries: list[int], size: int, limit: int | None
) -> None:
    dataset = _dataset("d", entries)
    planned = plan([dataset], chunk_size=size, max_events=limit)
    for number, file in enumerate(dataset.files):
        covered = [
            entry
            for chunk in (*planned.chunks, *planned.beyond)
            if chunk.file_number == number
            for entry in range(chunk.start, chunk.stop)
        ]
        assert covered == list(range(file.entries))
    processed = sum(chunk.entries for chunk in planned.chunks)
    assert processed == min(sum(entries), limit if limit is not None else sum(entries))


@given(entries=st.integers(1, 10_000), size=st.integers(1, 10_000))
def test_chunks_are_about_equal_and_of_the_target_size(entries: int, size: int) -> None:
    sizes = [c.entries for c in plan([_dataset("d", [entries])], chunk_size=size).chunks]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, round(entries / size))


def test_a_file_without_entries_has_one_chunk() -> None:
    planned = plan([_dataset("d", [0, 3])], chunk_size=5)
    assert [(c.start, c.stop) for c in planned.chunks] == [(0, 0), (0, 3)]


def test_metadata_and_keys_identify_a_chunk() -> None:
    planned = plan([_dataset("a", [4]), _dataset("b", [4, 4])], chunk_size=2)
    assert len({chunk.key for chunk in planned.chunks}) == 6
    last = planned.chunks[-1]
    assert last.metadata == {
        "dataset": "b",
        "filename": "b1.root",
        "treename": "Events",
        "layout": "nanoaod_ak4",
        "file_number": 2,
        "fileuuid": "b1",
        "entrystart": 2,
        "entrystop": 4,
        "year": 2024,
    }


def test_max_events_holds_per_dataset() -> None:
    planned = plan([_dataset("a", [4, 6, 2]), _dataset("b", [3])], chunk_size=3, max_events=7)
    assert [_range(c) for c in planned.chunks] == [
        ("a0.root", 0, 4),
        ("a1.root", 0, 3),
        ("b0.root", 0, 3),
    ]
    assert [_range(c) for c in planned.beyond] == [("a1.root", 3, 6), ("a2.root", 0, 2)]


@pytest.mark.parametrize("options", [{"chunk_size": 0}, {"chunk_size": 5, "max_events": 0}])
def test_numbers_must_be_positive(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="= 0: it must be at least 1"):
        plan([_dataset("a", [4])], **options)


def test_names_must_differ() -> None:
    with pytest.raises(ConfigError, match="datasets need different names, got a, a"):
        plan([_dataset("a", [4]), _dataset("a", [5])], chunk_size=5)


def _range(chunk: Chunk) -> tuple[str, int, int]:
    return chunk.path, chunk.start, chunk.stop
