from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepcalib.exceptions import DataError
from hepcalib.ntuples.linking import Linked, link, starts
from hepcalib.ntuples.place import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

Events = list[tuple[int, int, list[tuple[int, int]]]]  # jets, candidates, (jet, candidate) pairs


@st.composite
def _events(draw: st.DrawFn) -> Events:
    events = []
    for _ in range(draw(st.integers(0, 5))):
        jets, candidates = draw(st.integers(0, 4)), draw(st.integers(0, 5))
        pairs = [(j, c) for j in range(jets) for c in range(candidates)]
        chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
        events.append((jets, candidates, chosen))
    return events


def _linked(events: Events) -> Linked:
    pairs = [pair for _, _, links in events for pair in links]
    return link(
        np.array([jet for jet, _ in pairs], np.int32),
        np.array([candidate for _, candidate in pairs], np.int16),
        links=np.array([len(links) for _, _, links in events], np.int64),
        jets=np.array([jets for jets, _, _ in events], np.int64),
        candidates=np.array([candidates for _, candidates, _ in events], np.int64),
    )


def _slowly(events: Events) -> list[list[int]]:
    rows, first = [], 0
    for jets, candidates, links in events:
        rows += [[first + c for j, c in links if j == jet] for jet in range(jets)]
        first += candidates
    return rows


@settings(max_examples=200, deadline=None)
@given(_events())
def test_agrees_with_a_loop_over_jets(events: Events) -> None:
    linked = _linked(events)
    rows = [
        linked.candidates[a:b].tolist()
        for a, b in zip(linked.offsets, linked.offsets[1:], strict=False)
    ]
    assert rows == _slowly(events)


def test_jets_that_do_not_occur_have_empty_rows() -> None:
    assert _linked([(3, 2, [(1, 0)]), (1, 0, [])]).offsets.tolist() == [0, 0, 1, 1, 1]


def test_links_need_not_be_sorted() -> None:
    linked = _linked([(2, 3, [(1, 2), (0, 1), (1, 0)])])
    assert linked.candidates.tolist() == [1, 2, 0]


def test_two_jets_may_share_a_candidate() -> None:
    assert _linked([(2, 1, [(0, 0), (1, 0)])]).candidates.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((2, 0), "first to jet 2 in entry 107, which has 2"),
        ((-1, 0), "first to jet -1 in entry 107"),
        ((0, 3), "first to candidate 3 in entry 107, which has 3"),
        ((1, -1), "first to candidate -1 in entry 107"),
    ],
)
def test_a_link_out_of_its_event_is_refused(pair: tuple[int, int], message: str) -> None:
    with pytest.raises(DataError, match=f"x.root: 1 links point outside.*{message}"):
        link(
            np.array([0, pair[0]]),
            np.array([0, pair[1]]),
            links=np.array([1, 1]),
            jets=np.array([4, 2]),
            candidates=np.array([9, 3]),
            place=Place("x.root", 106),
        )


def test_the_same_candidate_twice_in_a_jet_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 links name a candidate of a jet twice, .* entry 1"):
        _linked([(1, 1, [(0, 0)]), (2, 2, [(0, 1), (1, 1), (0, 1)])])


def test_links_in_order_may_be_doubled_too() -> None:
    with pytest.raises(DataError, match="1 links name a candidate of a jet twice"):
        _linked([(1, 2, [(0, 0), (0, 0), (0, 1)])])


def test_candidates_of_no_jet_are_in_no_row() -> None:
    linked = _linked([(1, 5, [(0, 3)]), (0, 4, []), (2, 2, [(1, 1)])])
    assert linked.offsets.tolist() == [0, 1, 1, 2]
    assert linked.candidates.tolist() == [3, 10]


@pytest.mark.parametrize("value", [np.nan, 0.5, 1.0])
def test_a_link_is_an_integer(value: float) -> None:
    arrays = {"links": np.array([1]), "jets": np.array([2]), "candidates": np.array([2])}
    zero, number = np.array([0]), np.array([value])
    with pytest.raises(DataError, match=r"y.root: jet numbers of links are float64; needed: int"):
        link(number, zero, place=Place("y.root"), **arrays)
    with pytest.raises(DataError, match="candidate numbers of links are float64"):
        link(zero, number, **arrays)  # type: ignore[arg-type]  # on purpose


def test_a_negative_number_written_as_unsigned_is_refused() -> None:
    one = np.array([1])
    with pytest.raises(DataError, match="first to candidate 4294967295 in entry 0"):
        link(
            np.zeros(1, np.int64),
            np.array([-1]).astype(np.uint32),
            links=one,
            jets=one,
            candidates=one,
        )


def test_starts_are_offsets_from_zero() -> None:
    counts: NDArray[np.int64] = np.array([2, 0, 3])
    assert starts(counts).tolist() == [0, 2, 2, 5]
    assert starts(counts[:0]).tolist() == [0]
