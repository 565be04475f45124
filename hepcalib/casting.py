"""Numbers as another type of number; no value changes what it means, none is lost in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["Misfit", "cast", "is_number", "misfit"]


class Misfit(NamedTuple):
    """Values that another type cannot hold: the first of them, how many, what it could hold."""

    position: int
    number: int
    value: Any
    needed: str


def is_number(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type holds bool, integers or real numbers: no text, dates, complex numbers."""
    return dtype.kind in "biuf"


def cast(values: ArrayLike, dtype: DTypeLike, *, what: str) -> NDArray[Any]:
    """Return values as another type, to which they may be rounded but not changed; see `misfit`.

    Args:
        values: Numbers (rows,).
        dtype: The type to return.
        what: What they are; begins the message of an error.

    Raises:
        DataError: naming the first value that the type cannot hold, or if they are no numbers.
    """
    given = np.asarray(values)
    if not is_number(given.dtype):
        msg = f"{what}: {given.dtype}; needed: numbers"
        raise DataError(msg)
    found = misfit(given, dtype)
    if found is not None:
        msg = (
            f"{what} is {found.value} in row {found.position} ({found.number} such values); "
            f"needed: {found.needed}"
        )
        raise DataError(msg)
    return given.astype(dtype, copy=False)


def misfit(values: NDArray[Any], dtype: DTypeLike) -> Misfit | None:
    """Return what a type cannot hold of some numbers, None if it can hold all.

    An integer type holds whole numbers in its range. A floating-point number is one only where
    its neighbours are less than one apart, below 2^24 in float32 and 2^53 in float64: above,
    another number may have been meant, as of an event. A floating-point type holds all numbers
    within rounding, but none that would become infinite. A bool holds 0 and 1.

    Args:
        values: Numbers, of any shape; positions are those of the flat array.
        dtype: The type that they shall have.
    """
    target = np.dtype(dtype)
    if np.can_cast(values.dtype, target, "safe"):
        return None
    changed, needed = _changed(values, target)
    bad = np.flatnonzero(changed)
    if not len(bad):
        return None
    return Misfit(int(bad[0]), len(bad), values.ravel()[bad[0]].item(), needed)


def _changed(values: NDArray[Any], target: np.dtype[Any]) -> tuple[NDArray[np.bool_], str]:
    """Return which values the type cannot hold, and what it can hold."""
    if target.kind == "b":
        return (values != 0) & (values != 1), "0 or 1"
    if target.kind == "f":
        with np.errstate(over="ignore"):
            infinite = np.isinf(values.astype(target))
        limit = f"a magnitude up to {float(np.finfo(target).max):.4g}"
        return infinite & np.isfinite(values), limit
    low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
    if values.dtype.kind == "f":
        exact = 2 ** (np.finfo(values.dtype).nmant + 1)
        low, high = max(low, 1 - exact), min(high, exact - 1)
        with np.errstate(invalid="ignore"):
            held = (values >= low) & (values <= high) & (values == np.floor(values))
        return ~held, f"a whole number from {low} to {high}"
    return (values < low) | (values > high), f"a whole number from {low} to {high}"
