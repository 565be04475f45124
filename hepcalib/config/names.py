"""Texts that a configuration gives to things: names, and paths of files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Name", "PathText"]

Name = Annotated[str, Field(pattern=r"^\w[\w-]*$", max_length=100)]  # becomes part of file names
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
