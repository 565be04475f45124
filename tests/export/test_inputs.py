from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.export import athena_transforms
from hepcalib.features import Inputs

if TYPE_CHECKING:
    from hepcalib.export import AthenaTransform

NAMES = ["cluster.energy", "cluster.rapidity", "cluster.eng_frac_em", "cluster.second_time"]


def by_the_tool(values: Any, entry: AthenaTransform) -> Any:
    """The formulas of the tool, after the limits that the host has to see to."""
    x = np.clip(np.asarray(values, np.float64), entry.minimum, entry.maximum)
    constants = entry.parameters
    if entry.transform == "LogTenStandard":
        x = np.log10(x - constants["xmin"] + constants["eps"])
    return (x - constants["mean"]) / constants["std"]


def test_the_tools_formulas_give_the_features(clusters: Any) -> None:
    inputs = Inputs(features=NAMES)
    raw = inputs.extract(clusters)
    entries = athena_transforms(inputs.fit(raw))
    transformed, values = inputs(raw).features, raw.features
    assert transformed is not None
    assert values is not None
    assert [entry.feature for entry in entries] == NAMES
    assert [entry.unit for entry in entries] == ["GeV", "", "", "ns^2"]
    assert [entry.transform for entry in entries] == [
        "LogTenStandard",
        "Standard",
        "Standard",
        "LogTenStandard",
    ]
    assert entries[2][-2:] == (-0.5, 1.5)
    for column, entry in enumerate(entries):
        expected = by_the_tool(values[:, column], entry)
        np.testing.assert_allclose(transformed[:, column], expected, rtol=1e-5, atol=1e-5)
    # The population of nearly zero variance of the cell times is below the floor.
    unguarded = entries[3]._replace(minimum=None)
    assert not np.allclose(transformed[:, 3], by_the_tool(values[:, 3], unguarded), atol=0.1)


def test_what_the_tool_does_not_have_is_named(inputs: Inputs) -> None:
    message = r"no transform like that of cluster\.time; needed: write_onnx\(..., raw_inputs=True\)"
    with pytest.raises(ConfigError, match=message):
        athena_transforms(inputs)
