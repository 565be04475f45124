"""Decorrelators as tables that analyses evaluate without hepcalib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hepcalib.export.corrections import correction_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from hepcalib.decorrelation import Decorrelator

__all__ = ["decorrelator_json"]


def decorrelator_json(
    name: str,
    decorrelator: Decorrelator,
    *,
    scores: ArrayLike,
    units: Mapping[str, str],
    nodes: Sequence[int] = (31, 11),
    description: str = "",
) -> str:
    """Return the new score as correctionlib JSON: a table, interpolated linearly in all variables.

    Between the nodes it differs from the decorrelator itself as far as that is curved. Values
    outside of the table are refused. Nodes have seven digits of their range, and the outermost
    ones enclose the values that are given.

    Args:
        name: Name of the correction.
        decorrelator: What it is a table of.
        scores: Old scores at the nodes (at least 2,), rising.
        units: Unit of each of its variables.
        nodes: Number of nodes of each variable, over the range that the fit has seen.
        description: What the correction is about.

    Raises:
        ConfigError: if there are fewer than two different nodes of a variable.
        DataError: if a value of the table is not finite.
    """
    at = _enclosing(np.asarray(scores, dtype=np.float64))
    axes = [at]
    for (low, high), count in zip(decorrelator.ranges, nodes, strict=False):
        axes.append(_enclosing(np.linspace(low, high if high > low else low + 1.0, count)))
    grid = np.meshgrid(*axes, indexing="ij")
    score, *nuisances = (part.ravel() for part in grid)
    values = decorrelator(score, dict(zip(decorrelator.variables, nuisances, strict=True)))
    variables = [("score", "", at)]
    variables += [
        (variable, units[variable], axis)
        for variable, axis in zip(decorrelator.variables, axes[1:], strict=True)
    ]
    return correction_json(
        name,
        variables=variables,
        values=values.reshape(grid[0].shape),
        interpolate={variable: "linear" for variable, _, _ in variables},
        flow="error",
        output="score",
        description=description,
    )


def _enclosing(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rounded nodes: correctionlib reads numbers of more digits with an error."""
    span = np.ptp(nodes) if len(nodes) else 0.0
    if not span > 0:
        return nodes
    decimals = 6 - math.floor(math.log10(span))
    step = 10.0**-decimals
    ends = np.floor(nodes.min() / step) * step, (np.floor(nodes.max() / step) + 1) * step
    return np.unique(np.round([ends[0], *nodes[1:-1], ends[1]], decimals))
