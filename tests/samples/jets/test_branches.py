from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from hepcalib.samples.jets.branches import BRANCHES, COLLECTIONS, counter, join


def block(counts: list[int], value: float) -> dict[str, np.ndarray[Any, Any]]:
    """Every branch holds `value`, every collection these numbers of objects."""
    columns: dict[str, np.ndarray[Any, Any]] = {counter(x): np.array(counts) for x in COLLECTIONS}
    for name, kind in BRANCHES.items():
        jagged = name.split("_")[0] in COLLECTIONS
        columns[name] = np.full(sum(counts) if jagged else len(counts), value, kind)
    return columns


def test_blocks_are_joined_in_order() -> None:
    joined = join([block([2, 0], 1), block([1], 5)])
    assert list(joined) == list(BRANCHES)
    assert joined["Jet_label"].tolist() == [[1, 1], [], [5]]
    assert joined["nPV"].tolist() == [1, 1, 5]


def test_no_blocks_have_the_same_types() -> None:
    empty, full = join([]), join([block([1], 0)])
    for name in BRANCHES:
        assert len(empty[name]) == 0
        assert ak.type(ak.Array(empty[name])).content == ak.type(ak.Array(full[name])).content
