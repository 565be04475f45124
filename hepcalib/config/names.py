"""Names that a configuration gives to its samples, models, datasets and analyses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Name"]

Name = Annotated[str, Field(pattern=r"^\w[\w-]*$")]  # becomes part of file names
