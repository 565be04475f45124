from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.features import clusters

if TYPE_CHECKING:
    from hepcalib.features.feature import Feature

ROWS = 300


def test_there_is_a_binning_for_each_input_of_the_calibration() -> None:
    assert tuple(hists.FEATURES) == tuple(feature.name for feature in clusters.FEATURES)


@pytest.mark.parametrize("feature", clusters.FEATURES, ids=lambda feature: feature.name)
def test_axes_rise_and_name_their_unit(feature: Feature) -> None:
    axis = hists.feature_axis(feature.name)
    assert np.all(np.diff(axis.edges) > 0)
    assert axis.traits.overflow
    assert not axis.traits.growth
    unit = feature.unit.replace("^2", "$^2$").replace("^3", "$^3$")
    assert axis.label.endswith(f"[{unit}]") if unit else "[" not in axis.label
    if axis.metadata == "log":
        assert axis.edges[0] > 0
        assert np.allclose(np.diff(np.log(axis.edges)), np.log(axis.edges[1] / axis.edges[0]))


@pytest.mark.parametrize("name", ["longitudinal", "lateral", "ptd", "isolation", "eng_frac_em"])
def test_shares_of_exactly_one_are_inside(name: str) -> None:
    filled = hists.feature_uncertainty(name)
    hists.fill_feature_uncertainty(filled, values=[0.0, 1.0], uncertainty=[0.1, 0.1])
    assert filled.values().sum() == 2.0


def test_counts_of_vertices_are_never_on_an_edge() -> None:
    assert not set(hists.FEATURES["n_pv"].edges) & set(np.arange(80.0))


def test_variables_can_stand_in_for_features() -> None:
    assert hists.feature_axis("true_energy").size == 60
    assert hists.feature_axis("calibrated_energy").name == "calibrated_energy"
    with pytest.raises(ConfigError, match=r"unknown feature 'significane'.*'significance'"):
        hists.feature_response("significane")


def test_every_row_is_counted_once_in_parts_as_in_the_whole() -> None:
    rng = np.random.default_rng(71)
    values, other = rng.uniform(-3.0, 3.0, ROWS), rng.uniform(-7.0, 7.0, ROWS)
    weight = rng.integers(1, 4, ROWS).astype(np.float64)
    for make, fill, name in (
        (hists.feature_response, hists.fill_feature_response, "ratio"),
        (hists.feature_uncertainty, hists.fill_feature_uncertainty, "uncertainty"),
        (hists.feature_input, hists.fill_feature_input, "transformed"),
    ):
        whole, parts = make("rapidity"), make("rapidity")
        fill(whole, values=values, weight=weight, **{name: other})
        for rows in np.array_split(np.arange(ROWS), 7):
            fill(parts, values=values[rows], weight=weight[rows], **{name: other[rows]})
        assert whole.values(flow=True).sum() == weight.sum()
        assert np.array_equal(whole.values(flow=True), parts.values(flow=True))
        assert whole.axes[0].name == "rapidity"
        assert whole.axes[1].name == name


def test_nan_and_different_lengths_are_refused() -> None:
    filled = hists.feature_response("mu")
    with pytest.raises(DataError, match="column 'ratio': 1 of 2 values"):
        hists.fill_feature_response(filled, values=[1.0, 2.0], ratio=[1.0, np.nan])
    with pytest.raises(ShapeError, match="of one length"):
        hists.fill_feature_response(filled, values=[1.0, 2.0], ratio=[1.0])
    assert not filled.values(flow=True).any()
