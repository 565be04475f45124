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

from hepcalib.config.references import check_references, unused_address
from hepcalib.config.scans import scanned
from hepcalib.config.schema import Config
from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

__all__ = ["Loaded", "dump", "load"]

Key = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Loaded:
    """A checked configuration and where each of its keys stands."""

    config: Config
    places: Mapping[Key, str]

    def error(self, key: Key, message: str) -> ConfigError:
        """Return the error that blames `key`, with the file and line it stands in."""
        return ConfigError(_complaint(self.places, key, message))

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
    document, places = _read(Path(path))
    _import_models(document, places, Path(path))
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        lines = [_explain(detail, document, places) for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    loaded = Loaded(config, places)
    check_references(loaded)
    loaded = _with_scans(loaded)
    return replace(loaded, config=_expand(loaded, {**os.environ, **(variables or {})}))


def dump(config: Config) -> str:
    """Return the resolved configuration as YAML; reading it again gives the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(path: Path) -> tuple[dict[str, Any], dict[Key, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read: {error}"
        raise ConfigError(msg) from None
    except yaml.YAMLError as error:
        msg = f"{path}: is no valid YAML: {' '.join(str(error).split())}"
        raise ConfigError(msg) from None
    if node is None or not isinstance(document, dict):
        msg = f"{path}: holds {type(document).__name__}; a configuration is a mapping of keys"
        raise ConfigError(msg)
    return document, {key: f"{path}:{line}" for key, line in _lines(node, (), path)}


def _lines(node: yaml.Node, key: Key, path: Path) -> Iterator[tuple[Key, int]]:
    yield key, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*key, index), path)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, item in node.value:
            if name.value in seen:
                where = f"{path}:{name.start_mark.line + 1}"
                msg = f"{where}: {_dotted((*key, name.value))}: given twice; keep one of them"
                raise ConfigError(msg)
            seen.add(name.value)
            for child, line in _lines(item, (*key, name.value), path):
                yield child, name.start_mark.line + 1 if child == (*key, name.value) else line


def _import_models(document: dict[str, Any], places: dict[Key, str], path: Path) -> None:
    models: Any = document.get("models")
    for name, model in list(models.items()) if isinstance(models, dict) else ():
        if not (isinstance(model, dict) and "from" in model):
            continue
        if set(model) != {"from"}:
            msg = "a model taken 'from' another file has no keys of its own"
            raise ConfigError(_complaint(places, ("models", name), msg))
        source = path.parent / str(model["from"])
        other, other_places = _read(source)
        _import_models(other, other_places, source)
        known = other.get("models") or {}
        if name not in known:
            msg = f"{source} has no model '{name}'. {suggestion(name, known)}"
            raise ConfigError(_complaint(places, ("models", name), msg))
        models[name] = known[name]
        _adopt(places, other_places, ("models", name))
        for dataset in known[name].get("datasets", []):
            found = _import_entry(document, places, (other, other_places), ("datasets", dataset))
            if isinstance(found, dict) and "sample" in found:
                sample = ("samples", found["sample"])
                _import_entry(document, places, (other, other_places), sample)


def _import_entry(
    document: dict[str, Any],
    places: dict[Key, str],
    source: tuple[dict[str, Any], dict[Key, str]],
    key: tuple[str, str],
) -> Any:
    room, name = key
    mine = document.setdefault(room, {}).get(name)
    theirs = (source[0].get(room) or {}).get(name)
    if mine is not None and theirs is not None and mine != theirs:
        msg = f"differs from the one of that name in {source[1][()].rsplit(':', 1)[0]}; rename it"
        raise ConfigError(_complaint(places, key, msg))
    if theirs is not None and mine is None:
        document[room][name] = theirs
        _adopt(places, source[1], key)
    return theirs


def _adopt(places: dict[Key, str], other: Mapping[Key, str], prefix: Key) -> None:
    places.update({key: place for key, place in other.items() if key[: len(prefix)] == prefix})


def _explain(detail: ErrorDetails, document: Any, places: Mapping[Key, str]) -> str:
    # pydantic puts the tag of a union into the location: keep only what the file has.
    key: Key = ()
    node: Any = document
    for part in detail["loc"]:
        if _holds(node, part):
            node, key = node[part], (*key, part)
    last = detail["loc"][-1]
    if detail["type"] == "extra_forbidden":
        fields = _known_keys(document, key[:-1])
        return _complaint(places, key, f"unknown key '{last}'. {suggestion(str(last), fields)}")
    if detail["type"] == "missing":
        nearest = difflib.get_close_matches(str(last), [str(k) for k in node], n=1)
        hint = f" Is '{nearest[0]}' meant?" if nearest else ""
        return _complaint(places, key, f"the key '{last}' is missing.{hint}")
    return _complaint(places, key, f"{detail['msg']}; got {detail['input']!r}")


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


def _has(model: Any, part: str | int) -> bool:
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


def _complaint(places: Mapping[Key, str], key: Key, message: str) -> str:
    place = next(places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in places)
    return f"{place}: {_dotted(key)}: {message}" if key else f"{place}: {message}"


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key)
