from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.hists.axes import (
    FLAVOURS,
    VARIABLES,
    category_axis,
    fill,
    flavour_bins,
    histogram,
    variable_axis,
)


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_has_rising_edges_and_a_label(name: str) -> None:
    axis = variable_axis(name)
    assert axis.name == name
    assert axis.label == VARIABLES[name].label
    assert axis.metadata == VARIABLES[name].spacing
    assert np.all(np.diff(axis.edges) > 0)
    assert axis.traits.underflow
    assert axis.traits.overflow
    assert not axis.traits.growth
    if VARIABLES[name].spacing == "log":
        assert axis.edges[0] > 0


@pytest.mark.parametrize(
    "name",
    ["true_energy", "calibrated_energy", "true_pt", "true_mass", "true_jet_energy", "pt", "mass"],
)
def test_dimensional_variables_name_their_unit(name: str) -> None:
    assert VARIABLES[name].label.endswith("[GeV]")


def test_mass_bins_are_five_gev_from_50_to_300() -> None:
    assert np.allclose(VARIABLES["mass"].edges, 50.0 + 5.0 * np.arange(51), atol=0.0)


def test_every_flavour_has_a_bin_of_its_own_with_its_name() -> None:
    codes = [6, 0, 21, 1, 4, 5, 24]
    flavour = VARIABLES["flavour"]
    bins = np.digitize(flavour_bins(codes), flavour.edges) - 1
    assert sorted(bins.tolist()) == list(range(7))
    assert [flavour.names[k] for k in bins] == [FLAVOURS[code] for code in codes]
    assert flavour_bins([]).shape == (0,)


def test_an_unknown_flavour_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"unknown jet flavour \[-5, 3\]; needed: \[0, 1, 4, 5, 6, 21"
    ):
        flavour_bins([1, 3, -5])
    for code in (np.nan, 0.7, 1e300):
        with pytest.raises(DataError, match=r"jet flavour is .* in row 1 .* a whole number"):
            flavour_bins([1.0, code])


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rapidity'"):
        variable_axis("rapidty")


@pytest.mark.parametrize("names", [[], ["EM", "EM"]])
def test_categories_must_be_some_and_different(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="at least one category and each only once"):
        category_axis("scale", names, label="Scale")


def test_an_unknown_category_is_refused() -> None:
    pull, spread = hists.pull(), hists.uncertainty()
    with pytest.raises(DataError, match=r"'kind' has no category 'totl'.*Did you mean 'total'"):
        hists.fill_uncertainty(spread, kind="totl", uncertainty=[0.0])
    with pytest.raises(DataError, match=r"is called 'totl'\..*Did you mean 'total'"):
        hists.fill_pull(pull, kind="totl", pull=[0.0])
    assert pull.values(flow=True).sum() == spread.values(flow=True).sum() == 0.0


@pytest.mark.parametrize(
    ("values", "weight", "message"),
    [
        ([1.0, np.nan, np.nan], None, r"column 'mu': 2 of 3 values .* nan in row 1"),
        ([1.0, 2.0, 3.0], [1.0, 1.0, np.inf], r"column 'weight': 1 of 3 .* inf in row 2"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), None, r"column 'mu': 1 of 2 .* missing"),
        (["1.5", "2"], None, r"column 'mu': <U3; needed: numbers"),
        ([1j, 2.0], None, r"column 'mu': complex128; needed: numbers"),
    ],
)
def test_values_that_hist_would_misplace_are_refused(
    values: Any, weight: list[float] | None, message: str
) -> None:
    empty = histogram(variable_axis("mu"))
    with pytest.raises(DataError, match=message):
        fill(empty, weight, categories={}, values={"mu": values})
    assert empty.values(flow=True).sum() == 0.0


@pytest.mark.parametrize("weight", [[1.0], [[1.0, 1.0]]])
def test_columns_of_different_shape_are_refused(weight: object) -> None:
    with pytest.raises(ShapeError, match="of one length"):
        fill(
            histogram(variable_axis("mu")),
            np.asarray(weight),
            categories={},
            values={"mu": [1.0, 2.0]},
        )


def test_infinite_values_and_negative_weights_are_counted() -> None:
    filled = histogram(variable_axis("mu"))
    fill(filled, [2.0, -0.5, 1.0], categories={}, values={"mu": [np.inf, -np.inf, 5.0]})
    assert filled.values(flow=True)[[0, 1, -1]].tolist() == [-0.5, 1.0, 2.0]
    variances = filled.variances(flow=True)
    assert variances is not None
    assert variances[[0, 1, -1]].tolist() == [0.25, 1.0, 4.0]
