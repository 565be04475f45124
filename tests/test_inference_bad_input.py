"""From a file with broken constituents: an error that says where, or the result without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.exceptions import DataError
from hepcalib.inference import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

COUNTS, SIZES = [1, 2, 0, 1], [3, 2, 4, 5]  # jets of each event, constituents of each jet
CANDIDATES = [3, 6, 0, 5]


def per_event(values: Sequence[float], dtype: Any = np.float32) -> ak.Array:
    return ak.unflatten(np.array(values, dtype), CANDIDATES)


@pytest.fixture
def scores(tmp_path: Path, jet_file: Callable[..., Path], bundle: Callable[..., Path]) -> Any:
    """Predict the entries [1, 4) of a file with some branches replaced."""
    tagger = bundle(tmp_path / "tagger", model="tagger")

    def predicted(**branches: Any) -> list[list[float]]:
        path = jet_file(tmp_path / "jets.root", counts=COUNTS, sizes=SIZES, **branches)
        metadata = {"dataset": "wjets"}
        with ntuples.open_events(path, "flat_jets", start=1, metadata=metadata) as events:
            jets = ntuples.objects(events)
            found: list[list[float]] = predict(tagger, jets, where=ntuples.where(events)).score
            return ak.to_list(found)  # type: ignore[no-any-return]  # awkward is untyped

    return predicted


PLACE = r"^dataset 'wjets', .*jets.root, entries 1-4"
PT = [10.0 + i for i in range(14)]
JETS = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0]
NUMBERS = [0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]


def replaced(values: list[Any], position: int, value: float) -> list[Any]:
    return [*values[:position], value, *values[position + 1 :]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_constituents_that_are_not_finite(scores: Any, value: float) -> None:
    with pytest.raises(DataError, match=PLACE + r": 'PFCand_pt' is not finite.*jet 1 of entry 1"):
        scores(PFCand_pt=per_event(replaced(PT, 7, value)))


def test_constituents_without_momentum(scores: Any) -> None:
    with pytest.raises(DataError, match=PLACE + r": 1 of 11 .*no positive pt.*row 1 \(const.* 2\)"):
        scores(PFCand_pt=per_event(replaced(PT, 7, 0.0)))


@pytest.mark.parametrize(
    ("branch", "values", "number", "message"),
    [
        ("JetPFCand_jetIdx", JETS, 2, "first to jet 2 in entry 1, which has 2"),
        ("JetPFCand_jetIdx", JETS, -1, "first to jet -1 in entry 1"),
        ("JetPFCand_pfCandIdx", NUMBERS, 6, "first to candidate 6 in entry 1, which has 6"),
        ("JetPFCand_pfCandIdx", NUMBERS, -1, "first to candidate -1 in entry 1"),
    ],
)
def test_links_out_of_range(
    scores: Any, branch: str, values: list[int], number: int, message: str
) -> None:
    with pytest.raises(DataError, match=PLACE + ": 1 links point outside their event, " + message):
        scores(**{branch: per_event(replaced(values, 5, number), np.int32)})


def test_links_of_a_jet_to_the_same_candidate(scores: Any) -> None:
    with pytest.raises(DataError, match=PLACE + ": 1 links name a candidate of a jet twice.*try 1"):
        scores(JetPFCand_pfCandIdx=per_event(replaced(NUMBERS, 6, 2), np.int32))


def test_links_that_are_no_integers(scores: Any) -> None:
    with pytest.raises(DataError, match=PLACE + ": jet numbers of links are float32"):
        scores(JetPFCand_jetIdx=per_event(replaced(JETS, 5, np.nan)))


def test_constituents_of_no_jet_change_nothing(scores: Any) -> None:
    """A jet with fewer links has another score; the candidate itself may be anything."""
    whole = scores(PFCand_pt=per_event(PT))
    links = ak.Array([[0] * 3, [0, 0, 1, 1, 1], [], [0] * 5])
    numbers = ak.Array([[0, 1, 2], [0, 1, 2, 3, 5], [], [0, 1, 2, 3, 4]])
    fewer = {
        "JetPFCand_jetIdx": ak.values_astype(links, np.int32),
        "JetPFCand_pfCandIdx": ak.values_astype(numbers, np.int32),
    }
    once = scores(PFCand_pt=per_event(PT), **fewer)
    assert scores(PFCand_pt=per_event(replaced(PT, 7, np.nan)), **fewer) == once
    assert once[0][0] == pytest.approx(whole[0][0], rel=1e-6)
    assert once[0][1] != pytest.approx(whole[0][1], rel=1e-6)
    assert once[2] == pytest.approx(whole[2], rel=1e-6)


def test_links_in_another_order_change_nothing(scores: Any) -> None:
    jets, numbers = per_event(JETS, np.int32)[:, ::-1], per_event(NUMBERS, np.int32)[:, ::-1]
    found = scores(JetPFCand_jetIdx=jets, JetPFCand_pfCandIdx=numbers)
    for one, other in zip(found, scores(), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
