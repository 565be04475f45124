"""A YAML file as plain mappings, lists, texts and numbers, and the line of each of its keys.

Whatever the bytes are, reading them takes seconds and little memory, and ends with a document or
with an error in one line.
"""

from __future__ import annotations

import re
import stat
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml

from hepcalib.exceptions import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Document", "Key", "complaint", "read_document"]

Key = tuple[str | int | float, ...]

MOST_BYTES = 4 << 20
MOST_VALUES = 100_000  # with what aliases stand for
DEEPEST = 40
LONGEST_NUMBER = 100  # characters; the time to read a number grows faster than its length

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("null", "bool", "int", "float", "str")}
_MERGE = "tag:yaml.org,2002:merge"
_DATE = "tag:yaml.org,2002:timestamp"
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # which YAML 1.1 takes for a text


class Document(NamedTuple):
    """What a file says, and where: `path:line` of every key; () is the whole."""

    values: dict[str, Any]
    places: dict[Key, str]


def read_document(path: Path) -> Document:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: if it is no regular file, too large, no valid YAML, too deeply nested, or more
            than one document; for a key that is given twice or is no text or number, and a value
            that is a date, or has a tag or control characters.
    """
    content = _content(path)
    try:
        _check_size(content, path)
        node = yaml.compose(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        message = f"is no valid YAML: {error.problem or error.context}"
        _refuse(_line(path, error.problem_mark), message)
    except (yaml.YAMLError, ValueError) as error:
        _refuse(str(path), f"is no valid YAML: {error}")
    if not isinstance(node, yaml.MappingNode):
        _refuse(str(path), f"holds {_kind(node)}; a configuration is a mapping of keys")
    reader = _Reader(path)
    return Document(reader.value(node, ()), reader.places)


def complaint(places: Mapping[Key, str], key: Key, message: str) -> str:
    """Return an error in one line: the place of a key, or of what it is in, and what is wrong."""
    place = next(places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in places)
    dotted = ".".join(str(part) for part in key)
    return one_line(f"{place}: {dotted}: {message}" if key else f"{place}: {message}")


def _refuse(place: str, message: str) -> NoReturn:
    raise ConfigError(one_line(f"{place}: {message}")) from None


def _content(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device has no end
            _refuse(str(path), "cannot be read: it is no regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            _refuse(str(path), f"is larger than {MOST_BYTES >> 20} MiB; a configuration is not")
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # a path with NUL is a ValueError, as wrong UTF-8 is
        _refuse(_short(str(path)), f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _check_size(content: str, path: Path) -> None:
    """Refuse what is too deep or too much once its aliases are replaced, and several documents."""
    known: dict[str, _Part | None] = {}  # what anchors stand for; None while it is open
    opened: list[_Part] = [_Part("")]
    for event in yaml.parse(content, Loader=_Loader):
        place, inner = _line(path, event.start_mark), opened[-1]
        if isinstance(event, yaml.DocumentStartEvent) and inner.values:
            _refuse(place, "begins another document; a configuration is one")
        if isinstance(event, yaml.AliasEvent):
            part = known.get(event.anchor or "", _Part(""))
            if part is None:
                _refuse(place, f"the alias *{event.anchor} stands inside of what it stands for")
            inner.add(part)
        elif isinstance(event, yaml.ScalarEvent):
            known[event.anchor or ""] = part = _Part("", values=1)
            inner.add(part)
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Part(event.anchor or "", values=1, levels=1))
            known[event.anchor or ""] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            known[inner.anchor] = opened.pop()
            opened[-1].add(inner)
        if len(opened) + opened[-1].levels > DEEPEST:
            _refuse(place, f"is nested deeper than {DEEPEST} levels")
        if sum(part.values for part in opened) > MOST_VALUES:
            _refuse(place, f"more than {MOST_VALUES} values, counting what aliases stand for")


@dataclass
class _Part:
    """How many values a part of a document has, and how deep it is, with aliases replaced."""

    anchor: str
    values: int = 0
    levels: int = 0

    def add(self, inner: _Part) -> None:
        """Count what stands inside of it."""
        self.values += inner.values
        self.levels = max(self.levels, inner.levels + 1)


class _Reader:
    """Turns nodes into values, and notes the line of each; a merged key has its own line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[Key, str] = {}
        self._scalars = _Loader("")

    def value(self, node: yaml.Node, key: Key) -> Any:
        """Return the value of a node that stands at a key."""
        self.places.setdefault(key, self._place(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        if node.tag not in {"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}:
            self._refuse(node, key, f"the tag {node.tag} is not known; leave it out")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, key) if isinstance(node, yaml.MappingNode) else None

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        merged: list[yaml.Node] = []
        inherited: dict[Any, Any] = {}
        for name, item in node.value:
            if name.tag == _MERGE:
                merged.append(item)
                continue
            own = self._name(name, key)
            if own in found:
                self._refuse(name, (*key, own), "given twice; keep one of them")
            self.places[(*key, own)] = self._place(name)
            found[own] = self.value(item, (*key, own))
        if len(merged) > 1:
            self._refuse(node, key, "'<<' is given twice; give it a list")
        for source in self._sources(merged, key):
            reader = _Reader(self.path)
            values = reader.value(source, key)
            new = {name: value for name, value in values.items() if name not in found}
            inherited = new | inherited  # of several, the first one has the word
            for inner, place in reader.places.items():
                if inner[len(key) : len(key) + 1] and inner[len(key)] in new:
                    self.places.setdefault(inner, place)
        return inherited | found

    def _sources(self, merged: list[yaml.Node], key: Key) -> Iterator[yaml.MappingNode]:
        for item in merged:
            for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                if not isinstance(source, yaml.MappingNode):
                    self._refuse(source, key, f"'<<' merges {_kind(source)}; needed: a mapping")
                yield source

    def _name(self, node: yaml.Node, key: Key) -> str | int | float:
        name = self._scalar(node, key) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(name, bool) or not isinstance(name, (str, int, float)) or name != name:  # noqa: PLR0124 - NaN
            shown = getattr(node, "value", None)
            shown = repr(shown) if isinstance(shown, str) else _kind(node)
            self._refuse(node, key, f"the key {shown} is no text or number; quote it")
        return name

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        text, kind = str(node.value), _TAGS.get(node.tag)
        is_short = len(text) <= LONGEST_NUMBER
        if kind == "str" and not node.style and is_short and _FLOAT.fullmatch(text):
            return float(text)
        if kind == "str":
            if any(unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t" for c in text):
                self._refuse(node, key, f"{_short(repr(text))} has control characters")
            return text
        if kind is None:
            what = "a date" if node.tag == _DATE else f"of the unknown tag {node.tag}"
            self._refuse(node, key, f"{_short(repr(text))} is {what}; quote it to have a text")
        try:
            if not is_short:
                msg = f"has {len(text)} characters"
                raise ValueError(msg)  # noqa: TRY301 - as what cannot be read
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, ArithmeticError):
            self._refuse(node, key, f"{_short(repr(text))} is no {kind}; quote it to have a text")

    def _place(self, node: yaml.Node) -> str:
        return _line(self.path, node.start_mark)

    def _refuse(self, node: yaml.Node, key: Key, message: str) -> NoReturn:
        raise ConfigError(complaint({**self.places, key: self._place(node)}, key, message))


def _short(text: str) -> str:
    return one_line(text, longest=300)


def _line(path: Path, mark: Any) -> str:
    return str(path) if mark is None else f"{path}:{mark.line + 1}"


def _kind(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.CollectionNode):
        return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
    return "nothing" if node is None else "a single value"
