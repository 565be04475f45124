from __future__ import annotations

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import ConfigError, DataError, ShapeError

METHODS = ("BNN", "Repulsive ensemble")


def test_measured_responses_go_where_they_belong() -> None:
    filled = hists.measured_response()
    hists.fill_measured_response(filled, true_energy=[1.0, 5000.0], response=[0.9, 1.0])
    assert filled.values().sum() == 1.0
    assert filled.values(flow=True)[-1].sum() == 1.0
    places = [axis.index(at) for axis, at in zip(filled.axes, (1.0, 0.9), strict=True)]
    assert filled.values()[tuple(places)] == 1.0


def test_pairs_keep_apart_first_and_second() -> None:
    filled = hists.uncertainty_pair(*METHODS)
    hists.fill_uncertainty_pair(filled, kind="total", first=[0.1, 0.1], second=[0.5, 0.0])
    assert METHODS[0] in filled.axes["first"].label
    assert METHODS[1] in filled.axes["second"].label
    total = filled.values(flow=True)[0]
    assert total.sum(axis=1).max() == 2.0
    assert total.sum(axis=0)[0] == 1.0  # no uncertainty: underflow
    with pytest.raises(DataError, match="no category 'all'"):
        hists.fill_uncertainty_pair(filled, kind="all", first=[0.1], second=[0.1])


def test_coverage_counts_truths_inside_and_outside_with_their_weights() -> None:
    filled = hists.coverage("mu", methods=METHODS)
    hists.fill_coverage(
        filled,
        method="BNN",
        values=[5.0, 5.0, 15.0],
        inside=[True, False, True],
        weight=[2.0, 3.0, 0.5],
    )
    outside, inside = filled.values()[0]
    assert inside[:2].tolist() == [2.0, 0.5]
    assert outside[:2].tolist() == [3.0, 0.0]
    assert not filled.values(flow=True)[1].any()


def test_coverage_refuses_what_does_not_fit() -> None:
    filled = hists.coverage("mu", methods=METHODS)
    with pytest.raises(ShapeError, match=r"values \(2,\), inside \(1,\)"):
        hists.fill_coverage(filled, method="BNN", values=[5.0, 6.0], inside=[True])
    with pytest.raises(DataError, match="no category 'MC'"):
        hists.fill_coverage(filled, method="MC", values=[5.0], inside=[True])
    with pytest.raises(DataError, match="column 'mu': 1 of 1"):
        hists.fill_coverage(filled, method="BNN", values=[np.nan], inside=[True])
    with pytest.raises(DataError, match=r"inside is nan in row 0 .* needed: 0 or 1"):
        hists.fill_coverage(filled, method="BNN", values=[5.0], inside=[np.nan])
    with pytest.raises(ConfigError, match="unknown variable"):
        hists.coverage("nu", methods=METHODS)
    assert not filled.values(flow=True).any()


def test_both_ends_of_the_pit_are_inside() -> None:
    filled = hists.pit(METHODS)
    hists.fill_pit(filled, method="BNN", pit=[0.0, 1.0], weight=[1.0, 2.0])
    assert filled.values()[0, [0, -1]].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match=rf"'BNN': PIT {wrong} in row 1 is outside"):
        hists.fill_pit(hists.pit(METHODS), method="BNN", pit=[0.5, wrong])


def test_histograms_can_be_written_as_plain_ones() -> None:
    empty = {
        "pair": hists.uncertainty_pair(*METHODS),
        "coverage": hists.coverage("mu", methods=METHODS),
        "pit": hists.pit(METHODS),
        "raw": hists.measured_response(),
    }
    plain = hists.projections(empty)
    assert "coverage_Repulsive_ensemble_inside" in plain
    assert len(plain["pair_total"].axes) == 2
    again = hists.from_json(hists.to_json(empty))
    assert all(again[name] == histogram for name, histogram in empty.items())
