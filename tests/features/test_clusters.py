from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hepcalib.features import CATALOGUE, Chain, Feature, Inputs, Log10, Standardise
from hepcalib.features.clusters import FEATURES

Columns = dict[str, NDArray[np.float32]]


def test_order_is_that_of_the_production_tool() -> None:
    assert [feature.name for feature in FEATURES] == [
        "energy", "rapidity", "significance", "time", "second_time", "center_lambda",
        "center_mag", "eng_frac_em", "first_eng_dens", "longitudinal", "lateral", "ptd",
        "isolation", "n_pv", "mu",
    ]  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_input_is_alive(feature: Feature, clusters: Columns) -> None:
    """After the fit, 99 % of all clusters use a width of about 1, whatever the outliers."""
    key = f"cluster.{feature.name}"
    values = Inputs(features=[key]).extract(clusters).features
    assert values is not None
    transformed = Chain(CATALOGUE[key].transforms).fit(values)(values)
    clean = transformed[: len(values) - len(values) // 100]
    assert 0.5 < float(transformed.std()) < 2
    assert 0.5 < float(clean.std()) < 2
    assert float(clean.abs().max()) < 10


def test_without_the_clip_the_em_fraction_is_dead(clusters: Columns) -> None:
    """The published min-max scaling, and standardisation alone, leave nothing of [0, 1]."""
    values = torch.from_numpy(clusters["eng_frac_em"])
    span = float(values.max() - values.min())
    assert 1 / span < 1e-3
    clean = Standardise().fit(values)(values)[: len(values) - len(values) // 100]
    assert float(clean.std()) < 0.01


def test_without_the_floor_cell_times_are_two_populations(clusters: Columns) -> None:
    """Single-cell clusters at 1e-9 ns^2 squeeze all others, unless the logarithm has a floor."""
    values = torch.from_numpy(clusters["second_time"])
    usual = values > 0.1
    learned = Chain([Log10(), Standardise()]).fit(values)(values)
    floored = Chain(CATALOGUE["cluster.second_time"].transforms).fit(values)(values)
    assert float(learned[usual].std()) < 0.25
    assert float(floored[usual].std()) > 0.4
