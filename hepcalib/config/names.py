"""Texts that a configuration gives to things: names, and paths of files."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

__all__ = ["Name", "Names", "PathText"]


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PydanticCustomError("twice", "{names} given twice", {"names": ", ".join(twice)})  # noqa: EM101 - a type, a text
    return names


def _visible(path: str) -> str:
    if not path.isprintable():
        raise PydanticCustomError("path", "Input should have visible characters and spaces only")  # noqa: EM101 - a type, a text
    return path


Name = Annotated[str, Field(pattern=r"^\w[\w-]*$", max_length=100)]  # becomes part of file names
PathText = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_visible)]
Names = Annotated[tuple[str, ...], Field(min_length=1, max_length=1000), AfterValidator(_once)]
