"""Models and heads by name: from a specification to a model and back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import hepcalib.models as room
from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.models.heads import Head
from hepcalib.models.model import Model, described

__all__ = ["build", "describe"]

PARTS: Mapping[str, type[Model | Head]] = {"head": Head, "model": Model}
NUMBERS: Mapping[str, Any] = {"int": Integral, "float": Real}
LONGEST = 100  # characters of a value in a message


def build(spec: Mapping[str, Any]) -> Model:
    """Return the model that a specification names, with new weights.

    Args:
        spec: ``name`` of a model in ``hepcalib.models`` and its constructor keywords; a head or an
            inner model is again such a mapping.

    Raises:
        ConfigError: if a name or keyword is unknown, a keyword is missing or a value is refused.
    """
    _check(spec, Model, "model")
    model: Model = _constructed(spec, "model")
    return model


def describe(model: Model) -> dict[str, Any]:
    """Return the specification from which ``build`` makes the same model, with other weights.

    Raises:
        ConfigError: if the model or its head is not one of ``hepcalib.models``.
    """
    spec = described(model)
    _check(spec, Model, "model")
    return spec


def _known(kind: type[Model | Head]) -> dict[str, type[Model | Head]]:
    parts = {name: getattr(room, name) for name in room.__all__}
    return {
        name: part
        for name, part in parts.items()
        if inspect.isclass(part) and issubclass(part, kind) and not inspect.isabstract(part)
    }


def _check(spec: Any, kind: type[Model | Head], place: str) -> None:
    """Refuse unknown names and keywords and missing keywords, here and in the parts."""
    if not isinstance(spec, Mapping) or "name" not in spec:
        msg = f"{place}: {spec!r}; needed: a mapping with a name and keywords"
        raise ConfigError(msg)
    known, name = _known(kind), str(spec["name"])
    if name not in known:
        msg = f"{place}.name: unknown {kind.__name__.lower()} '{name}'. {suggestion(name, known)}"
        raise ConfigError(msg)
    # A part without a constructor of its own shows the catch-all one of nn.Module.
    parameters = inspect.signature(known[name]).parameters
    allowed = {
        key: p
        for key, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for key, value in spec.items():
        if key == "name":
            continue
        if key not in allowed:
            msg = f"{place}.{key}: unknown keyword of {name}. {suggestion(str(key), allowed)}"
            raise ConfigError(msg)
        wanted = str(allowed[key].annotation)
        if key not in PARTS and not _fits(value, wanted):
            msg = f"{place}.{key}: {repr(value)[:LONGEST]}; needed: {wanted}"
            raise ConfigError(msg)
    for key, parameter in allowed.items():
        if key not in spec and parameter.default is parameter.empty:
            msg = f"{place}.{key}: missing; {name} needs it"
            raise ConfigError(msg)
    for key, inner in PARTS.items():
        if key in spec:
            _check(spec[key], inner, f"{place}.{key}")


def _fits(value: Any, kind: str) -> bool:
    """Tell whether a value is of the type that the annotation of a keyword names."""
    if kind.endswith(" | None"):
        return value is None or _fits(value, kind.removesuffix(" | None"))
    if kind.startswith("Sequence["):
        inner = kind.removeprefix("Sequence[").removesuffix("]")
        return isinstance(value, list | tuple) and all(_fits(item, inner) for item in value)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind in NUMBERS:
        return isinstance(value, NUMBERS[kind]) and math.isfinite(float(value))
    return isinstance(value, str)


def _constructed(spec: Mapping[str, Any], place: str) -> Any:
    values = {key: value for key, value in spec.items() if key != "name"}
    for key in PARTS.keys() & values.keys():
        values[key] = _constructed(values[key], f"{place}.{key}")
    try:
        return getattr(room, spec["name"])(**values)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        msg = f"{place}: {spec['name']} refuses {dict(spec)}: {error}"
        raise ConfigError(msg) from error
