"""Numbers that a configuration may hold: finite, of a size that can be meant, and no yes or no."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

__all__ = ["Amount", "Count", "Positive", "Processes", "Range", "Real", "Seed", "Whole"]

MOST = 2**53  # what a float64, and so every reader of JSON, can count to


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("bool", "Input should be a number")  # noqa: EM101 - a type, a text
    return value


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise PydanticCustomError("range", "Input should be a lower and an upper limit")  # noqa: EM101 - a type, a text
    return limits


_Number = BeforeValidator(_no_bool)
_Limit = Annotated[float, _Number]

Whole = Annotated[int, _Number, Field(ge=0, le=MOST)]
Count = Annotated[int, _Number, Field(ge=1, le=MOST)]
Processes = Annotated[int, _Number, Field(ge=1, le=10_000)]
Seed = Annotated[int, _Number, Field(ge=0, lt=2**63)]
Real = Annotated[float, _Number, Field(allow_inf_nan=False)]
Amount = Annotated[float, _Number, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, _Number, Field(gt=0, allow_inf_nan=False)]
Range = Annotated[tuple[_Limit, _Limit], AfterValidator(_rising)]
