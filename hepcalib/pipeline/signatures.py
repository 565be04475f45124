"""Values from a configuration against the annotations of what takes them."""

from __future__ import annotations

import collections.abc
import inspect
import json
import pathlib
import sys
import typing
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from hepcalib.exceptions import one_line, suggestion
from hepcalib.inference import DecorrelatedTagger, Handle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parameter", "parameter", "problem"]

# What a module may import for its annotations alone.
_OF_ANNOTATIONS: dict[str, Any] = {
    **{name: getattr(typing, name) for name in typing.__all__},
    **{name: getattr(collections.abc, name) for name in collections.abc.__all__},
    "Path": pathlib.Path,
    "Handle": Handle,
    "DecorrelatedTagger": DecorrelatedTagger,
}


class Parameter(NamedTuple):
    """A keyword that something takes, and what checks its values, if its annotation can be read."""

    name: str
    annotation: str
    kind: TypeAdapter[Any] | None

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value that is an object, None if nothing is."""
        return None if self.kind is None else _problem(lambda: self.kind.validate_python(value))  # type: ignore[union-attr]  # just asked

    def problem_of_json(self, value: Any) -> str | None:
        """Return what is wrong with a value that a document holds, None if nothing is."""
        if self.kind is None:
            return None
        found = _problem(lambda: self.kind.validate_json(json.dumps(value)))  # type: ignore[union-attr]  # just asked
        shown = one_line(repr(value), longest=120)
        return found and f"{shown} where {self.annotation} is needed: {found}"


@cache
def parameter(taker: Callable[..., Any], keyword: str) -> Parameter | None:
    """Return what takes a keyword, be it what takes all others; None if nothing does."""
    every = inspect.signature(taker).parameters
    own = every.get(keyword)
    if own is None or own.kind not in (own.POSITIONAL_OR_KEYWORD, own.KEYWORD_ONLY):
        own = next((p for p in every.values() if p.kind is p.VAR_KEYWORD), None)
    if own is None:
        return None
    return Parameter(own.name, str(own.annotation), _kind(own.annotation, taker))


def problem(taker: Callable[..., Any], keyword: str, value: Any) -> str | None:
    """Return what is wrong with the value that a document has for a keyword, None if nothing is."""
    found = parameter(taker, keyword)
    return found and found.problem_of_json(value)


def _kind(annotation: Any, taker: Callable[..., Any]) -> TypeAdapter[Any] | None:
    code = taker.__init__ if inspect.isclass(taker) else taker
    module = sys.modules.get(getattr(code, "__module__", ""))
    names = {**_OF_ANNOTATIONS, **(vars(module) if module is not None else {})}
    try:
        found = eval(annotation, names) if isinstance(annotation, str) else annotation
        if found in (Any, inspect.Parameter.empty):
            return None
        return TypeAdapter(found, config=ConfigDict(strict=True))
    except (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError):
        return None


def _problem(validate: Callable[[], object]) -> str | None:
    try:
        validate()
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        if detail["type"] == "literal_error":
            known = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return f"unknown value. {suggestion(str(detail['input']), known)}"
        return str(detail["msg"])
    return None
