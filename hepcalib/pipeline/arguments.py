"""What a configuration gives to a processor, against what its constructor's signature takes."""

from __future__ import annotations

import collections.abc
import inspect
import json
import pathlib
import sys
import typing
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from hepcalib.exceptions import one_line, suggestion
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.pipeline.analyses import processor_class, stand_ins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.config import Loaded

__all__ = ["check_arguments"]

# What a module may import for its annotations alone.
_OF_ANNOTATIONS: dict[str, Any] = {
    **{name: getattr(typing, name) for name in typing.__all__},
    **{name: getattr(collections.abc, name) for name in collections.abc.__all__},
    "Path": pathlib.Path,
    "Handle": Handle,
    "DecorrelatedTagger": DecorrelatedTagger,
}


def check_arguments(loaded: Loaded, name: str) -> None:
    """Refuse models and options that the processor's constructor does not take, or misses.

    Values are compared with the annotations of the constructor, as far as these can be read.

    Raises:
        ConfigError: naming file, line and key.
    """
    analysis = loaded.config.analyses[name]
    found = processor_class(loaded, name)
    parameters = inspect.signature(found).parameters
    given = [("models", role) for role in analysis.models]
    given += [("options", option) for option in analysis.options]
    models = stand_ins(loaded, name)
    for room, argument in given:
        key = ("analyses", name, room, argument)
        if argument == "columns" and argument in parameters:
            msg = "the folder of the columns follows from the output directory; leave it out"
            raise loaded.error(key, msg)
        if room == "options" and argument in analysis.models:
            raise loaded.error(key, f"there is a model of the role '{argument}'; keep one of them")
        parameter = _parameter(parameters, argument)
        if parameter is None or (parameter.name != argument and _is_surplus(room, parameter, found)):
            msg = f"{analysis.processor} takes no '{argument}'. {suggestion(argument, parameters)}"
            raise loaded.error(key, msg)
        kind = _type(parameter, found)
        value = analysis.options[argument] if room == "options" else models[argument]
        problem = None if kind is None else _problem(kind, room, value)
        if problem is not None:
            shown = _shown(loaded, name, room, argument)
            raise loaded.error(key, f"{shown} where {parameter.annotation} is needed: {problem}")
    _require_all(loaded, name, parameters)


def _require_all(loaded: Loaded, name: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    analysis = loaded.config.analyses[name]
    given = {*analysis.models, *analysis.options}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    missing = [
        p
        for p, v in parameters.items()
        if v.default is v.empty and v.kind not in variadic and p not in given
    ]
    if missing:
        msg = f"{analysis.processor} needs {', '.join(missing)} among its models or options"
        raise loaded.error(("analyses", name), msg)


def _parameter(
    parameters: Mapping[str, inspect.Parameter], argument: str
) -> inspect.Parameter | None:
    """Return the parameter that takes an argument, be it one that takes all others."""
    own = parameters.get(argument)
    if own is not None and own.kind in (own.POSITIONAL_OR_KEYWORD, own.KEYWORD_ONLY):
        return own
    return next((p for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)


def _is_surplus(room: str, parameter: inspect.Parameter, processor: type) -> bool:
    """Tell whether an option would be taken for one of the models of any name."""
    kind = _type(parameter, processor)
    return room == "options" and kind is not None and _takes_models(kind)


def _type(parameter: inspect.Parameter, processor: type) -> TypeAdapter[Any] | None:
    """Return what checks an argument; None where there is no annotation, or no JSON is meant."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return None
    module = sys.modules.get(processor.__init__.__module__)
    names = {**_OF_ANNOTATIONS, **vars(module)} if module is not None else _OF_ANNOTATIONS
    try:
        found = eval(annotation, names) if isinstance(annotation, str) else annotation  # noqa: S307 - of the code itself
        return None if found is Any else TypeAdapter(found, config=ConfigDict(strict=True))
    except (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError):
        return None


def _takes_models(kind: TypeAdapter[Any]) -> bool:
    return _problem(kind, "models", Handle("", "")) is None


def _problem(kind: TypeAdapter[Any], room: str, value: Any) -> str | None:
    """Return what is wrong with a value; those of options are as JSON holds them."""
    try:
        if room == "models":
            kind.validate_python(value)
        elif _takes_models(kind):
            return "a model, which is given among the models"
        else:
            kind.validate_json(json.dumps(value))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        if detail["type"] == "literal_error":
            known = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return f"unknown value. {suggestion(str(detail['input']), known)}"
        return str(detail["msg"])
    return None


def _shown(loaded: Loaded, name: str, room: str, argument: str) -> str:
    analysis, config = loaded.config.analyses[name], loaded.config
    if room == "options":
        return one_line(repr(analysis.options[argument]), longest=120)
    used = analysis.models[argument]
    kinds = {"scan": config.scans, "residual": config.residuals, "decorrelator": config.decorrelators}
    kind = next((kind for kind, known in kinds.items() if used in known), "model")
    return f"the {kind} '{used}'"
