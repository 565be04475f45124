"""What a configuration gives to a processor, against what its constructor takes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hepcalib.exceptions import suggestion
from hepcalib.inference import Handle
from hepcalib.pipeline.analyses import processor_class, stand_ins
from hepcalib.pipeline.signatures import parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hepcalib.config import Loaded
    from hepcalib.pipeline.signatures import Parameter

__all__ = ["check_arguments"]


def check_arguments(loaded: Loaded, name: str) -> None:
    """Refuse models and options that the processor's constructor does not take, or misses.

    Values are compared with the annotations of the constructor, as far as these can be read.

    Raises:
        ConfigError: naming file, line and key.
    """
    analysis, found = loaded.config.analyses[name], processor_class(loaded, name)
    if "columns" in {*analysis.models, *analysis.options} & {*inspect.signature(found).parameters}:
        room = "models" if "columns" in analysis.models else "options"
        msg = "the folder of the columns follows from the output directory; leave it out"
        raise loaded.error(("analyses", name, room, "columns"), msg)
    for role, stand_in in stand_ins(loaded, name).items():
        taker = _taker(loaded, name, ("models", role), found)
        problem = taker.problem(stand_in)
        if problem is not None:
            msg = f"{_described(loaded, analysis.models[role])} where {taker.annotation} is needed"
            raise loaded.error(("analyses", name, "models", role), f"{msg}: {problem}")
    for option, value in analysis.options.items():
        taker = _taker(loaded, name, ("options", option), found)
        problem = taker.problem_of_json(value)
        if problem is not None:
            raise loaded.error(("analyses", name, "options", option), problem)
    _require_all(loaded, name, found)


def _taker(
    loaded: Loaded, name: str, given: tuple[str, str], found: Callable[..., Any]
) -> Parameter:
    """Return the parameter that takes a model or an option."""
    (room, argument), analysis = given, loaded.config.analyses[name]
    key = ("analyses", name, room, argument)
    taker = parameter(found, argument)
    is_option, is_named = room == "options", taker is not None and taker.name == argument
    for_models = taker is not None and taker.kind is not None and _takes_models(taker)
    if taker is None or (is_option and for_models and not is_named):
        known = inspect.signature(found).parameters
        msg = f"{analysis.processor} takes no '{argument}'. {suggestion(argument, known)}"
        raise loaded.error(key, msg)
    if is_option and argument in analysis.models:
        raise loaded.error(key, f"there is a model of the role '{argument}'; keep one of them")
    if is_option and for_models:
        raise loaded.error(key, "is a model; give it among the models")
    return taker


def _takes_models(taker: Parameter) -> bool:
    return taker.problem(Handle("", "")) is None


def _described(loaded: Loaded, used: str) -> str:
    config = loaded.config
    kinds: dict[str, Mapping[str, Any]] = {
        "scan": config.scans,
        "residual": config.residuals,
        "decorrelator": config.decorrelators,
    }
    kind = next((kind for kind, known in kinds.items() if used in known), "model")
    return f"the {kind} '{used}'"


def _require_all(loaded: Loaded, name: str, found: Callable[..., Any]) -> None:
    analysis = loaded.config.analyses[name]
    given = {*analysis.models, *analysis.options}
    missing = [
        key
        for key, p in inspect.signature(found).parameters.items()
        if p.default is p.empty
        and key not in given
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        msg = f"{analysis.processor} needs {', '.join(missing)} among its models or options"
        raise loaded.error(("analyses", name), msg)
