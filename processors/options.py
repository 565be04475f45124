"""What the options of a processor may be; a mistyped one is refused before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["choice", "interval"]

Name = TypeVar("Name", bound=str)


def choice(option: str, value: Name, known: Sequence[str]) -> Name:
    """Return the value of an option that has a few possible ones.

    Raises:
        ConfigError: if it is none of them.
    """
    if value not in known:
        msg = f"{option}: unknown value '{value}'. {suggestion(str(value), known)}"
        raise ConfigError(msg)
    return value


def interval(option: str, value: Sequence[float]) -> tuple[float, float]:
    """Return the value of an option that is a lower and an upper limit.

    Raises:
        ConfigError: if it is not two numbers in ascending order.
    """
    try:
        low, high = (float(limit) for limit in value)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        msg = f"{option} is {value!r}; needed: a lower and an upper limit, such as [50, 300]"
        raise ConfigError(msg)
    return low, high
