"""Models that a configuration takes, with their datasets and samples, from another file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hepcalib.config.documents import Document, complaint, read_document
from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hepcalib.config.documents import Key

__all__ = ["read_with_imports"]

MOST_FILES = 16  # in a row, each of which takes a model from the next


def read_with_imports(path: Path) -> Document:
    """Read a file and, for every model that is `{from: FILE}`, what that file has of this name.

    Raises:
        ConfigError: if a file cannot be read, files take models from each other in a circle, or a
            model is not there, or its datasets or samples differ from those of the same name here.
    """
    return _Files().read(path, ())


class _Files:
    """The files of one configuration, each of them read once."""

    def __init__(self) -> None:
        self._read: dict[str, Document] = {}

    def read(self, path: Path, before: tuple[str, ...]) -> Document:
        """Read a file; those in `before` are being read."""
        place = os.path.realpath(path)
        if place not in self._read:
            document = read_document(path)
            for name, model in _section(document, "models").items():
                if isinstance(model, dict) and "from" in model:
                    document = self._with_model(document, name, path, (*before, place))
            self._read[place] = document
        return self._read[place]

    def _with_model(
        self, document: Document, name: str, path: Path, before: tuple[str, ...]
    ) -> Document:
        key, model = ("models", name), document.values["models"][name]
        if set(model) != {"from"}:
            msg = "a model taken 'from' another file has no keys of its own"
            raise _error(document, key, msg)
        if not isinstance(model["from"], str) or not model["from"].isprintable():
            msg = f"got {model['from']!r}; needed: the name of a file beside this one"
            raise _error(document, (*key, "from"), msg)
        source = path.parent / model["from"]
        self._check_chain(document, (*key, "from"), source, before)
        other = self.read(source, before)
        known = _section(other, "models")
        if name not in known:
            msg = f"{source} has no model '{name}'. {suggestion(name, known)}"
            raise _error(document, key, msg)
        document = _adopted(document, other, key)
        for dataset in _names(known[name], "datasets"):
            document = _imported(document, other, ("datasets", dataset))
            found = _section(document, "datasets").get(dataset)
            for sample in _names(found, "sample"):
                document = _imported(document, other, ("samples", sample))
        return document

    def _check_chain(
        self, document: Document, key: Key, source: Path, before: tuple[str, ...]
    ) -> None:
        if os.path.realpath(source) in before:
            msg = f"{source} takes models from this file, or is it; no file can be first"
            raise _error(document, key, msg)
        if len(before) > MOST_FILES:
            msg = f"the last of {len(before)} files in a row that take a model from the next"
            raise _error(document, key, msg)


def _imported(document: Document, other: Document, key: tuple[str, str]) -> Document:
    room, name = key
    mine, theirs = (_section(d, room).get(name) for d in (document, other))
    if mine is not None and theirs is not None and mine != theirs:
        msg = f"differs from the one of that name in {other.places[()].rsplit(':', 1)[0]}; rename"
        raise _error(document, key, f"{msg} it")
    return document if theirs is None or mine is not None else _adopted(document, other, key)


def _adopted(document: Document, other: Document, key: tuple[str, str]) -> Document:
    """Return the document with an entry of another one, and where that stands there."""
    room, name = key
    section = {**_section(document, room), name: other.values[room][name]}
    places = {k: place for k, place in other.places.items() if k[:2] == key}
    return Document({**document.values, room: section}, {**document.places, **places})


def _section(document: Document, room: str) -> Mapping[Any, Any]:
    found = document.values.get(room)
    if not isinstance(found, dict | None):
        raise _error(document, (room,), f"got a {type(found).__name__}; needed: a mapping of names")
    return found or {}


def _names(entry: Any, key: str) -> list[str]:
    """Return the names that an entry has at a key; what is none is refused with the whole."""
    given = entry.get(key) if isinstance(entry, dict) else None
    names = given if isinstance(given, list) else [given]
    return [name for name in names if isinstance(name, str)]


def _error(document: Document, key: Key, message: str) -> ConfigError:
    return ConfigError(complaint(document.places, key, message))
