from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib.casting import cast, misfit
from hepcalib.exceptions import DataError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([211.0, -13.0, -0.0]), "i8"),
        (np.array([2.0**53 - 1, 1 - 2.0**53]), "i8"),
        (np.array([2.0**24 - 1], np.float32), "i8"),
        (np.array([True, False]), "i8"),
        (np.array([2**63 - 1], np.uint64), "i8"),
        (np.array([3.0], ">f4"), "i8"),
        (np.array([0, 255]), "u1"),
        (np.array([0.0, 1.0]), "?"),
        (np.array([np.nan, np.inf, -np.inf, 3e38, 1e-60]), "f4"),
        (np.array([2**64 - 1], np.uint64), "f4"),
    ],
)
def test_what_a_type_can_hold(values: np.ndarray[Any, Any], dtype: str) -> None:
    found = cast(values, dtype, what="it")
    assert found.dtype == np.dtype(dtype)
    reference = values.astype(np.float64)
    np.testing.assert_allclose(found.astype(np.float64), reference, rtol=1e-6, atol=1e-45)


@pytest.mark.parametrize(
    ("value", "source", "dtype", "needed"),
    [
        (np.nan, "f8", "i8", "a whole number from -9007199254740991 to 9007199254740991"),
        (np.inf, "f4", "i8", "a whole number from -16777215 to 16777215"),
        (0.7, "f8", "i8", "a whole number"),
        (2.0**53, "f8", "i8", "to 9007199254740991"),
        (2.0**24, "f4", "i8", "to 16777215"),
        (2.0**63, "f8", "u8", "from 0 to 9007199254740991"),
        (2**63, "u8", "i8", "to 9223372036854775807"),
        (-1, "i8", "u4", "from 0 to 4294967295"),
        (2**31, "i8", "i4", "to 2147483647"),
        (256, "i2", "u1", "from 0 to 255"),
        (2, "i8", "?", "0 or 1"),
        (0.5, "f4", "?", "0 or 1"),
        (np.nan, "f8", "?", "0 or 1"),
        (1e39, "f8", "f4", "a magnitude up to 3.403e+38"),
        (70000.0, "f4", "f2", "a magnitude up to 6.55e+04"),
    ],
)
def test_what_a_type_cannot_hold(value: float, source: str, dtype: str, needed: str) -> None:
    values = np.array([1, value, value], source)
    found = misfit(values, dtype)
    assert found is not None
    assert found[:2] == (1, 2)
    assert needed in found.needed
    np.testing.assert_equal(found.value, np.array(value, source).item())
    with pytest.raises(DataError, match=r"it is .* in row 1 \(2 such values\); needed: "):
        cast(values, dtype, what="it")


@pytest.mark.parametrize("values", [["1.5"], [1j], np.array(["2020"], "M8[Y]"), [object()]])
def test_what_is_no_number(values: Any) -> None:
    with pytest.raises(DataError, match=r"it: .*; needed: numbers"):
        cast(values, "f8", what="it")
