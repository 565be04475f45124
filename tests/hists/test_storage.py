from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import hist
import numpy as np
import pytest
from hist import Hist

from hepcalib import hists
from hepcalib.exceptions import DataError, ShapeError


def filled() -> dict[str, Hist[Any]]:
    rng = np.random.default_rng(5)
    values, weight = rng.uniform(0.0, 1.0, 200), rng.normal(1.0, 1.0, 200)
    response = hists.response("true_energy", scales=["EM", "Best possible"])
    hists.fill_response(response, scale="EM", values=100.0 * values, response=values, weight=weight)
    score = hists.score("mu", taggers=["plain"])
    hists.fill_score(
        score, tagger="plain", label="signal", score=values, values=80 * values, weight=weight
    )
    return {"response_true_energy": response, "score_mu": score, "pull": hists.pull()}


def test_json_round_trip_is_exact() -> None:
    before = filled()
    after = hists.from_json(hists.to_json(before))
    assert list(after) == list(before)
    for name, expected in before.items():
        assert after[name] == expected
        assert np.array_equal(after[name].view(flow=True), expected.view(flow=True))
        for axis, original in zip(after[name].axes, expected.axes, strict=True):
            assert (axis.name, axis.label) == (original.name, original.label)
            assert axis.metadata == original.metadata


def test_what_was_read_adds_to_what_was_written() -> None:
    before = filled()["response_true_energy"]
    after = hists.from_json(hists.to_json({"x": before}))["x"]
    total = before + after
    assert np.array_equal(total.values(flow=True), 2.0 * before.values(flow=True))


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '{"a": {"uhi_schema": 1}}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not a JSON object of UHI histograms"):
        hists.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("axes", 0, "bins"), 10**12),
        (("axes", 0, "bins"), 10**30),
        (("axes", 0, "bins"), -1),
        (("axes", 0, "bins"), 1.5),
        (("axes", 0, "lower"), "a"),
        (("axes", 0, "type"), "triangular"),
        (("axes", 0), 5),
        (("axes",), []),
        (("storage", "type"), "int8"),
        (("storage", "values"), [[]]),
        (("storage", "values"), "many"),
        (("storage", "values"), [1, [2]]),
        (("storage",), {"type": "weighted"}),
        (("metadata",), 3),
    ],
)
def test_damaged_histograms_are_refused(path: tuple[Any, ...], value: Any) -> None:
    """At once, and without the memory of bins that have no values."""
    axis = hist.axis.Regular(5, 0.0, 1.0, name="x")
    tables = json.loads(hists.to_json({"a": hist.Hist(axis, storage=hist.storage.Weight())}))
    place = tables["a"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DataError, match="not a JSON object of UHI histograms"):
        hists.from_json(json.dumps(tables))


def test_bins_of_a_transformed_axis_need_values() -> None:
    axis = hist.axis.Regular(5, 1.0, 10.0, name="x", transform=hist.axis.transform.log)
    text = hists.to_json({"a": hist.Hist(axis)})
    assert hists.from_json(text)["a"].axes[0] == axis
    with pytest.raises(DataError, match="UHI histograms"):
        hists.from_json(text.replace('"bins":5', '"bins":1000000000000'))


def test_random_damage_is_read_or_refused() -> None:
    text = hists.to_json(filled() | {"pull": hists.pull()}).encode()
    short = text[text.index(b'"pull"') - 1 :]
    short = b"{" + short.removeprefix(b",")
    random = np.random.default_rng(6)
    for number in range(300):
        damaged = bytearray(short)
        for place in random.integers(0, len(damaged), 1 + number % 4):
            damaged[place] = random.integers(32, 127)
        cut = None if number % 4 else int(random.integers(len(damaged)))
        with suppress(DataError):  # and no other error
            hists.from_json(damaged[:cut].decode())


def test_projections_have_no_categories_and_keep_the_sum() -> None:
    before = filled()
    after = hists.projections(before)
    assert "response_true_energy_EM" in after
    assert "response_true_energy_Best_possible" in after
    assert "score_mu_plain_signal" in after
    for plain in after.values():
        assert not any(isinstance(axis, hist.axis.StrCategory) for axis in plain.axes)
        assert len(plain.axes) <= 3
    expected = before["score_mu"].values(flow=True).sum()
    parts = [plain for name, plain in after.items() if name.startswith("score_mu")]
    # Sums of 200 doubles in another order.
    assert np.isclose(sum(part.values(flow=True).sum() for part in parts), expected, rtol=1e-12)


def test_projections_copy() -> None:
    before = {"slices": hists.uncertainty_rapidity()}
    after = hists.projections(before)["slices"]
    hists.fill_uncertainty_rapidity(before["slices"], rapidity=[0.0], uncertainty=[0.1])
    assert after.values().sum() == 0.0


def test_projections_refuse_what_root_cannot_hold() -> None:
    axes = [hist.axis.Regular(1, 0.0, 1.0, name=name) for name in "abcd"]
    with pytest.raises(ShapeError, match="has 4 axes beside its categories"):
        hists.projections({"x": hist.Hist(*axes)})
    with pytest.raises(ShapeError, match="has 0 axes"):
        hists.projections({"x": hist.Hist(storage=hist.storage.Double())})


def test_a_cutflow_keeps_its_categories() -> None:
    cutflow: Any = hist.Hist(hist.axis.StrCategory(["all", "e10"], name="cut"))
    assert hists.projections({"x": cutflow}) == {"x": cutflow}


def test_projections_refuse_two_of_one_name() -> None:
    both = {"x": hists.spectrum(["a b", "a_b"])}
    with pytest.raises(DataError, match="would be named 'x_a_b'"):
        hists.projections(both)


def sparse() -> tuple[Hist[Any], str]:
    """A large histogram with three filled bins, in flow bins too, and what is written of it."""
    filled = hists.score("mu", taggers=["plain", "other"])
    given: dict[str, Any] = {"tagger": "other", "label": "signal", "score": [0.2, 0.2, 0.7, 0.9]}
    values, weight = np.array([5.0, 5.0, -np.inf, 20.0]), np.array([1.0, -1.0, 0.5, 2.0])
    hists.fill_score(filled, values=values, weight=weight, **given)
    return filled, hists.to_json({"score": filled})


def ones(histogram: Hist[Any]) -> None:
    view: Any = histogram.view(flow=True)
    view["value"] = 1.0


def test_mostly_empty_histograms_are_written_by_their_filled_bins() -> None:
    filled, text = sparse()
    assert len(text) < 40_000 < filled.view(flow=True).size
    assert hists.from_json(text)["score"] == filled
    empty = filled.copy().reset()
    assert hists.from_json(hists.to_json({"h": empty}))["h"] == empty
    rows = hists.score("pt", taggers=[str(n) for n in range(4)])
    ones(rows)
    text = hists.to_json({"h": rows})
    assert text.count("[") < 100  # 24,000 otherwise
    assert hists.from_json(text)["h"] == rows
    full = filled.copy()
    ones(full)
    assert "index" not in json.loads(hists.to_json({"h": full}))["h"]["storage"]
    assert hists.from_json(hists.to_json({"h": full}))["h"] == full


@pytest.mark.parametrize(
    "change",
    [
        {"index": [[1, 1, 1], [1, 1, 1], [2, 2, 2], [-1, 0, 1]]},
        {"index": [[1, 1, 1], [1, 1, 1], [2, 2, 2], [0, 1, 999]]},
        {"index": [[1, 1, 1], [1, 1, 1], [2, 2, 2], [0, 1, 1]]},
        {"index": [[1, 1, 1], [1, 1, 1], [2, 2, 2], [0.0, 1.5, 1.0]]},
        {"index": [[1, 1, 1], [1, 1, 1], [2, 2, 2]]},
        {"index": [[1], [1], [2], [0]]},
        {"index": "bins"},
        {"values": [1.0]},
        {"values": 1.0},
        {"variances": [1.0, 2.0, 3.0, 4.0]},
    ],
)
def test_filled_bins_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    table = json.loads(sparse()[1])
    assert len(table["score"]["storage"]["values"]) == 3
    table["score"]["storage"] |= change
    with pytest.raises(DataError, match="not a JSON object of UHI histograms"):
        hists.from_json(json.dumps(table))


def test_few_bins_of_a_huge_histogram_are_refused() -> None:
    table = json.loads(sparse()[1])
    axis = table["score"]["axes"][3]
    axis.clear()
    axis |= {
        "type": "regular",
        "lower": 0.0,
        "upper": 1.0,
        "bins": 10**12,
        "underflow": True,
        "overflow": True,
        "circular": False,
    }
    with pytest.raises(DataError, match="bins of 3 values"):
        hists.from_json(json.dumps(table))
