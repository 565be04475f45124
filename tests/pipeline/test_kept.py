"""What processors return beside histograms is kept, or refused with its name."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np
import pytest
from coffea import processor

from hepcalib.exceptions import OutputError
from hepcalib.pipeline.analyses import Joined
from hepcalib.pipeline.kept import check_output, separated


def filled() -> Any:
    return hist.Hist.new.Reg(2, 0, 2, name="x").Weight().fill(x=[0.5])


KEPT = {
    "number": (3, 3),
    "float": (0.5, 0.5),
    "bool": (True, True),
    "numpy integer": (np.int64(3), 3),
    "numpy float": (np.float32(0.5), 0.5),
    "not a number": (float("nan"), None),
    "cutflow": ({"all": 3, "e10": {"tight": 1}}, {"all": 3, "e10": {"tight": 1}}),
    "counter": (Counter("aab"), {"a": 2, "b": 1}),
    "defaultdict": (defaultdict(int, {"a": 1}), {"a": 1}),
    "numbered": ({1: 2, np.int64(2): 3}, {"1": 2, "2": 3}),
    "empty": ({}, {}),
    "set": ({"b", "a"}, ["a", "b"]),
    "set of pairs": ({(1, 20), (1, 3)}, [[1, 3], [1, 20]]),
    "list": ([1, 2.5, "text"], [1, 2.5, "text"]),
    "array": (np.arange(3), [0, 1, 2]),
    "table": (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
    "awkward": (ak.Array([[1], [2, 3]]), [[1], [2, 3]]),
    "value_accumulator": (processor.value_accumulator(int, 4), 4),
    "set_accumulator": (processor.set_accumulator({"a"}), ["a"]),
    "list_accumulator": (processor.list_accumulator([1]), [1]),
    "column_accumulator": (processor.column_accumulator(np.array([1.0])), [1.0]),
    "dict_accumulator": (
        processor.dict_accumulator({"n": processor.value_accumulator(int, 1)}),
        {"n": 1},
    ),
    "defaultdict_accumulator": (processor.defaultdict_accumulator(int, {"n": 1}), {"n": 1}),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_counts_is_kept(kind: str) -> None:
    value, expected = KEPT[kind]
    check_output("a", {"x": value}, known=set())
    histograms, counters = separated("a", {"h": filled(), "x": value})
    assert histograms == {"h": filled()}
    assert json.loads(json.dumps(counters, allow_nan=False)) == {"x": expected}


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_adds_up_in_coffea(kind: str) -> None:
    value, _ = KEPT[kind]
    total = processor.accumulate([{"x": value}, {"x": value}])
    check_output("a", total, known=set())


def test_nested_histograms_are_named_by_their_keys() -> None:
    output = {"d": {"h": filled(), "n": 1}, "plain": bh.Histogram(bh.axis.Regular(1, 0, 1))}
    histograms, counters = separated("a", output)
    assert set(histograms) == {"d/h", "plain"}
    assert counters == {"d": {"n": 1}}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "returned NoneType; needed: a dict"),
        ([1], "returned list; needed: a dict"),
        ({"x": None}, "'x' is NoneType, which no file"),
        ({"x": {"y": object()}}, "'x/y' is object, which no file"),
        ({"x": 1j}, "'x' is complex"),
        ({"x": b"a"}, "'x' is bytes"),
        ({"x": {"y": "text"}}, "the text 'text' does not add up"),
        ({"x": np.array(["a"])}, "'x' is ndarray"),
        ({("a", "b"): 1}, r"key \('a', 'b'\); needed: names"),
        ({"x": {1: 1, "1": 2}}, "key '1'; needed: names"),
        ({"": 1}, "key ''; needed: names"),
        ({"a": {"h": filled()}, "a/h": filled()}, "two histograms are named 'a/h'"),
    ],
)
def test_what_does_not_is_refused(output: Any, message: str) -> None:
    with pytest.raises(OutputError, match=f"analysis 'a': .*{message}"):
        check_output("a", output, known=set())


class Returning(processor.ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Returns what its events are."""

    def __init__(self) -> None:
        self.calls = 0

    def process(self, events: Any) -> Any:
        self.calls += 1
        return events[0]

    def postprocess(self, accumulator: Any) -> Any:
        if "fail" in accumulator:
            accumulator["n"] = -1
            message = "no such bin"
            raise KeyError(message)
        return {"text": "a label"} if accumulator else None


class Events(list[Any]):
    """Something with metadata."""

    metadata = {"dataset": "d"}  # noqa: RUF012 - as coffea's events have it


def test_a_refusal_costs_one_chunk() -> None:
    inside = Returning()
    joined = Joined({"a": inside}, datasets={"a": ["d"]})
    for _ in range(3):
        with pytest.raises(OutputError, match="'x' is NoneType"):
            joined.process(Events([{"x": None}]))
    assert inside.calls == 1


def test_a_refusal_after_what_was_kept_costs_its_chunk_only() -> None:
    joined = Joined({"a": Returning()}, datasets={"a": ["d"]})
    good, bad = Events([{"n": 1}]), Events([{"n": None}])
    assert joined.process(good) == {"a/n": 1}
    with pytest.raises(OutputError, match="'n' is NoneType"):
        joined.process(bad)
    assert joined.process(good) == {"a/n": 1}


def test_a_sum_outlives_a_failing_end() -> None:
    joined = Joined({"a": Returning(), "b": Returning()}, datasets={"a": ["d"], "b": ["d"]})
    finished = joined.postprocess({"a/fail": 1, "a/n": 2, "b/n": 3})
    assert finished == {"a/fail": 1, "a/n": 2, "b/text": "a label"}
    assert joined.complaints == ["analysis 'a': postprocess failed: KeyError: 'no such bin'"]
