"""What one input of a model is: where it comes from, its unit and its recommended transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from hepcalib.features.table import Table

__all__ = ["STANDARDISE", "Feature", "log10_floored"]

STANDARDISE: Mapping[str, Any] = {"name": "Standardise"}


class Feature(NamedTuple):
    """One input: how it is computed from standard columns and what is done to it before a model."""

    name: str
    unit: str  # of the computed value, before the transforms
    kind: Literal["object", "constituent"]
    needs: tuple[str, ...]  # standard columns; those of constituents as "constituents.pt"
    compute: Callable[[Table], NDArray[np.float64]]  # (rows,), or (items,) for constituents
    transforms: tuple[Mapping[str, Any], ...] = (STANDARDISE,)
    double: bool = False  # whether models take small differences of it, which float32 would spoil


def log10_floored(floor: float) -> Mapping[str, Any]:
    """Return the configuration of a Log10 with an explicit floor, in the unit of the feature."""
    return {"name": "Log10", "floor": floor}
