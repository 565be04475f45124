"""A numerical inversion as a correction that other programs apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.exceptions import ConfigError
from hepcalib.export.corrections import correction_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.calibration.numerical_inversion import NumericalInversion

__all__ = ["inversion_json"]


def inversion_json(
    name: str,
    inversion: NumericalInversion,
    *,
    variable: tuple[str, str],
    units: Mapping[str, str] | None = None,
    points: int = 200,
    description: str = "",
) -> str:
    r"""Return the factor calibrated / measured of an inversion as correctionlib JSON.

    .. math:: c(Y) = f^{-1}(Y) / Y

    It is tabulated between the lowest and the highest node and interpolated, in the logarithm of
    the variable if the inversion's spacing is "log". Beyond them the factor of the nearest one
    holds, where the inversion itself would go on straight.

    Args:
        name: Name of the correction.
        inversion: The inversion; its auxiliary variables become binned ones.
        variable: Name and unit of the measured value.
        units: Units of the auxiliary variables, by name.
        points: Number of points in the table, at least 2.
        description: What the correction is about; how to apply it, if empty.

    Raises:
        ConfigError: if there are more than two auxiliary variables or too few points.
    """
    if points < 2:
        msg = f"correction '{name}': {points} points; needed: at least 2"
        raise ConfigError(msg)
    log = inversion.spacing == "log"
    limits = (float(inversion.measured.min()), float(inversion.measured.max()))
    nodes = (np.geomspace if log else np.linspace)(*limits, points)
    nodes[[0, -1]] = limits
    edges = inversion.auxiliary
    middles = [0.5 * (own[1:] + own[:-1]) for own in edges.values()]
    grid = np.meshgrid(nodes, *middles, indexing="ij")
    others = dict(zip(edges, (part.ravel() for part in grid[1:]), strict=True))
    factors = inversion.factor(grid[0].ravel(), **others).reshape(grid[0].shape)
    symbol, unit = variable
    return correction_json(
        name,
        variables=[
            (symbol, unit, nodes),
            *((other, (units or {}).get(other, ""), own) for other, own in edges.items()),
        ],
        values=factors,
        interpolate={symbol: "log" if log else "linear"},
        description=description or f"Multiply {symbol} by it.",
    )
