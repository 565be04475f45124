"""YAML -> Config; every complaint names the file, the line, the key and the nearest known key."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from hepcalib.config.documents import complaint
from hepcalib.config.imports import read_with_imports
from hepcalib.config.references import check_references, unused_address
from hepcalib.config.scans import scanned
from hepcalib.config.schema import Config
from hepcalib.exceptions import ConfigError, one_line, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from hepcalib.config.documents import Key

__all__ = ["Loaded", "dump", "load"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Loaded:
    """A checked configuration and where each of its keys stands."""

    config: Config
    places: Mapping[Key, str]

    def error(self, key: Key, message: str) -> ConfigError:
        """Return the error that blames `key`, with the file and line it stands in."""
        return ConfigError(complaint(self.places, key, message))

    def with_run(self, **options: Any) -> Loaded:
        """Return the same analysis with some of its run options replaced (None: kept).

        Raises:
            ConfigError: for the address of a scheduler with an executor that has none.
        """
        given = {name: value for name, value in options.items() if value is not None}
        executor = given.get("executor", self.config.run.executor)
        if executor != "dask" and given.get("address") is not None:
            msg = f"address {given['address']}: {unused_address(executor)}"
            raise ConfigError(msg)
        if executor != "dask":  # an address in the file is that of the executor that is replaced
            given["address"] = None
        run = self.config.run.model_copy(update=given)
        return replace(self, config=self.config.model_copy(update={"run": run}))


def load(path: str | Path, *, variables: Mapping[str, str] | None = None) -> Loaded:
    """Read and check a configuration file.

    A model given as `{from: other.yaml}` is taken, with the samples it is trained on, from the
    file of that name beside this one.

    Args:
        path: The YAML file.
        variables: Values for `${NAME}` in file names; the environment is asked for the others.

    Returns:
        The configuration, with the line of every key.

    Raises:
        ConfigError: for a file that is missing or no YAML, an unknown or repeated key, a value
            out of range, a name that nothing in the file defines, an unset variable.
    """
    document, places = read_with_imports(Path(path))
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_context=False, include_url=False)
        first, *others = sorted(found, key=lambda detail: detail["type"] != "extra_forbidden")
        more = f" ({len(others)} more like this)" if others else ""
        raise ConfigError(_explain(first, document, places, more)) from None
    loaded = Loaded(config, places)
    check_references(loaded)
    loaded = _with_scans(loaded)
    return replace(loaded, config=_expand(loaded, {**os.environ, **(variables or {})}))


def dump(config: Config) -> str:
    """Return the resolved configuration as YAML; reading it again gives the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _explain(detail: ErrorDetails, document: Any, places: Mapping[Key, str], more: str) -> str:
    # pydantic puts the tag of a union into the location: keep only what the file has.
    key: Key = ()
    node: Any = document
    for part in detail["loc"]:
        if _holds(node, part):
            node, key = node[part], (*key, part)
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        fields = _known_keys(document, key[:-1])
        message = f"unknown key '{last}'. {suggestion(last, fields)}"
    elif detail["type"] == "missing":
        nearest = difflib.get_close_matches(last, [str(k) for k in node], n=1)
        hint = f" Is '{nearest[0]}' meant?" if nearest else ""
        message = f"the key '{last}' is missing.{hint}"
    else:
        message = f"{detail['msg']}; got {one_line(repr(detail['input']), longest=120)}"
    return complaint(places, key, message + more)


def _holds(node: Any, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node


def _known_keys(document: Any, key: Key) -> list[str]:
    """Return the keys that the section at `key` may have."""
    kinds: list[Any] = [Config]
    node = document
    for part in key:
        node = node[part]
        fields = [k.model_fields[part].annotation for k in kinds if _has(k, part)]
        kinds = [m for f in fields for m in _models(f)] or kinds
    kind = node.get("kind") if isinstance(node, dict) else None
    chosen = [k for k in kinds if _kind_of(k) in (None, kind)] or kinds
    return sorted({name for k in chosen for name in k.model_fields})


def _has(model: Any, part: str | float) -> bool:
    return isinstance(part, str) and part in model.model_fields


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _kind_of(model: Any) -> str | None:
    field = model.model_fields.get("kind")
    options = get_args(field.annotation) if field else ()
    return options[0] if len(options) == 1 else None


def _with_scans(loaded: Loaded) -> Loaded:
    """Return the configuration with the models of its scans among the others."""
    models, places = dict(loaded.config.models), dict(loaded.places)
    for scan in loaded.config.scans:
        try:
            found = scanned(loaded.config, scan)
        except ConfigError as error:
            raise loaded.error(("scans", scan), str(error)) from None
        for name, model in found.items():
            if models.get(name, model) != model:
                raise loaded.error(("scans", scan), f"there is another model '{name}'; rename it")
            models[name] = model
            places.setdefault(("models", name), places[("scans", scan)])
    return Loaded(loaded.config.model_copy(update={"models": models}), places)


def _expand(loaded: Loaded, variables: Mapping[str, str]) -> Config:
    datasets = {}
    for name, dataset in loaded.config.datasets.items():
        files = []
        for i, file in enumerate(dataset.files):
            for variable in _VARIABLE.findall(file):
                if variable not in variables:
                    msg = f"the variable {variable} in '{file}' is not set; export it, or --data"
                    raise loaded.error(("datasets", name, "files", i), msg)
            files.append(_VARIABLE.sub(lambda match: variables[match[1]], file))
        datasets[name] = dataset.model_copy(update={"files": tuple(files)})
    return loaded.config.model_copy(update={"datasets": datasets})
