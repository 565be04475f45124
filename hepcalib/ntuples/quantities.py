"""What of an object is calibrated: its measured and its true value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QUANTITIES", "Quantity", "measured", "measured_columns", "true", "true_columns"]

Quantity: TypeAlias = Literal["energy", "pt", "mass"]

QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    "cluster": ("energy",),
    "jet": ("pt", "energy", "mass"),
}
"""Object -> quantities that can be calibrated [GeV], the usual one first."""

_JET = {"pt": ("pt",), "mass": ("mass",), "energy": ("pt", "eta", "mass")}


def measured_columns(kind: str, quantity: str) -> tuple[str, ...]:
    """Return the standard columns that the measured value is computed from.

    Args:
        kind: "cluster" or "jet".
        quantity: One of `QUANTITIES` of this object.
    """
    return ("energy",) if kind == "cluster" else _JET[quantity]


def true_columns(kind: str, quantity: str) -> tuple[str, ...]:
    """Return the standard columns that the true value is computed from.

    Args:
        kind: "cluster" or "jet".
        quantity: One of `QUANTITIES` of this object.
    """
    if kind == "cluster":
        return ("true_energy",)
    return ("matched", *(f"gen_{name}" for name in _JET[quantity]))


def measured(objects: Any, kind: str, quantity: str) -> NDArray[np.float64]:
    r"""Return the measured value of each object [GeV]; E^2 = (p_T cosh eta)^2 + m^2 for jets.

    Args:
        objects: Standard columns, one object per row.
        kind: "cluster" or "jet".
        quantity: One of `QUANTITIES` of this object.
    """
    return _value(objects, quantity, measured_columns(kind, quantity))


def true(objects: Any, kind: str, quantity: str) -> NDArray[np.float64]:
    """Return the true value of each object [GeV]; NaN for a jet without a matched true one.

    Args:
        objects: Standard columns, one object per row.
        kind: "cluster" or "jet".
        quantity: One of `QUANTITIES` of this object.
    """
    columns = [name for name in true_columns(kind, quantity) if name != "matched"]
    return _value(objects, quantity, tuple(columns))


def _value(objects: Any, quantity: str, columns: tuple[str, ...]) -> NDArray[np.float64]:
    values = [np.asarray(objects[name], dtype=np.float64) for name in columns]
    if quantity != "energy" or len(values) == 1:
        return values[0]
    pt, eta, mass = values
    return np.asarray(np.hypot(pt * np.cosh(eta), mass))
