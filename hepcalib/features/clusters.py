"""The 15 inputs of the ATLAS topo-cluster calibration, in the order of the production tool.

Reference: arXiv:2412.04370, with two changes to the published preprocessing. The minimum-maximum
scaling of the EM fraction is spoilt by outliers of nearly zero raw energy (all of [0, 1] maps to a
width of 5e-5), so it is clipped first; the variance of cell times has a population near zero (one
timed cell) that a logarithm without a floor would spread over ten decades.

Beside them stands the absolute rapidity: a detector is symmetric, and a network that is told so
resolves the edges of its regions better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.features.feature import STANDARDISE, Feature, log10_floored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from hepcalib.features.table import Table

__all__ = ["FEATURES", "MORE_FEATURES"]


def _column(name: str, unit: str, *steps: Mapping[str, Any]) -> Feature:
    """Return the feature that is a standard column of clusters, standardised after the steps."""

    def compute(table: Table) -> NDArray[np.float64]:
        return table[name]

    return Feature(name, unit, "object", (name,), compute, (*steps, STANDARDISE))


FEATURES: tuple[Feature, ...] = (
    _column("energy", "GeV", log10_floored(1e-2)),  # EM scale
    _column("rapidity", ""),
    _column("significance", "", log10_floored(1e-2)),  # signal over noise
    _column("time", "ns", {"name": "SignedCbrt"}),
    _column("second_time", "ns^2", log10_floored(1e-2)),  # variance of the cell times
    _column("center_lambda", "mm", log10_floored(1.0)),  # depth along the shower axis
    _column("center_mag", "mm"),  # distance from the origin
    _column("eng_frac_em", "", {"name": "Clip", "low": -0.5, "high": 1.5}),
    _column("first_eng_dens", "GeV/mm^3", log10_floored(1e-10)),
    _column("longitudinal", ""),
    _column("lateral", ""),
    _column("ptd", ""),
    _column("isolation", ""),
    _column("n_pv", ""),
    _column("mu", ""),
)

MORE_FEATURES: tuple[Feature, ...] = (
    Feature(
        "abs_rapidity",
        "",
        "object",
        ("rapidity",),
        lambda table: np.abs(table["rapidity"]),
        (STANDARDISE,),
    ),
)
