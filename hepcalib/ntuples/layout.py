"""What an ntuple layout is: which branch, in which unit, holds which standard column."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from hepcalib.casting import cast
from hepcalib.exceptions import ConfigError, DataError, suggestion
from hepcalib.ntuples.columns import STANDARD, UNITS, ObjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Candidates", "Column", "Factor", "Gen", "Layout"]

CONSTITUENTS = "constituents"
DERIVED = ("index", "matched")  # of jets: follow from counters and links, have no branch


class Factor(NamedTuple):
    """A branch that multiplies another one, as it is or as 1 minus itself."""

    branch: str
    complement: bool = False


class Column(NamedTuple):
    """Where a standard column comes from.

    Args:
        branch: Name of the branch.
        unit: Unit in the file, one of `UNITS`; converted to GeV, mm, ns.
        required: Whether a file without the branch is refused.
        default: Value where an optional branch is absent; None is that of the standard column.
        factors: Branches that multiply it, row by row.
        codes: (number in the file, standard number) of a column of codes; all others are the
            default.
    """

    branch: str
    unit: str = ""
    required: bool = True
    default: float | None = None
    factors: tuple[Factor, ...] = ()
    codes: tuple[tuple[int, int], ...] = ()

    @property
    def branches(self) -> tuple[str, ...]:
        """The branch and those of its factors."""
        return (self.branch, *(factor.branch for factor in self.factors))


class Gen(NamedTuple):
    """The link of a jet to its generator-level jet.

    Args:
        collection: Prefix of the generator-level jets.
        link: Branch with the number of the matched jet in the event, negative if there is none.
        beyond: What a number past the last generator-level jet is: an error, or no match, since
            NanoAOD keeps the number of jets below the threshold of the stored collection.
        required: Whether a file without the link is refused; recorded data have none.
    """

    collection: str
    link: str
    beyond: Literal["error", "unmatched"] = "error"
    required: bool = True


class Candidates(NamedTuple):
    """The links from jets to their constituents: one row per pair of jet and candidate.

    Args:
        collection: Prefix of the candidates.
        links: Prefix of the links.
        jet: Branch of the links with the number of the jet in the event.
        candidate: Branch of the links with the number of the candidate in the event.
    """

    collection: str
    links: str
    jet: str
    candidate: str


@dataclass(frozen=True)
class Layout:
    """An ntuple layout as data.

    Args:
        name: The key in `LAYOUTS`.
        tree: Name of the TTree.
        object: What it holds, one cluster per entry or a list of jets per event.
        columns: Standard column -> Column; constituents are `constituents.pt`, ...
        jets: Prefix of the jets (`Jet` for `nJet` and `Jet_*`); empty for clusters.
        gen: The link to generator-level jets, if there is one.
        candidates: The links to constituents, if there are any.
        collections: Further prefixes with a counter, and the coffea record each becomes.
        format: What the files are; a CSV file has one cluster per line.
        words: Columns of a CSV file that hold words, and the number that each word becomes.

    Raises:
        ConfigError: if a column or unit is not a standard one, or a default, code or word stands
            for what its column cannot hold.
    """

    name: str
    tree: str
    object: ObjectKind
    columns: Mapping[str, Column]
    jets: str = ""
    gen: Gen | None = None
    candidates: Candidates | None = None
    collections: Mapping[str, str] = field(default_factory=dict)
    format: Literal["root", "csv"] = "root"
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        derived = DERIVED if self.object == "jet" else ()
        known = set(STANDARD[self.object]) - set(derived)
        for name, column in self.columns.items():
            place = f"layout '{self.name}': column '{name}'"
            if name not in known:
                msg = f"{place} cannot be mapped. {suggestion(name, known)}"
                raise ConfigError(msg)
            if column.unit not in UNITS:
                msg = f"{place}: unknown unit '{column.unit}'. {suggestion(column.unit, UNITS)}"
                raise ConfigError(msg)
            _require_held(place, column, STANDARD[self.object][name].dtype)
        for branch, words in self.words.items():
            for word, code in words.items():
                _require_whole(f"layout '{self.name}': word '{word}' of '{branch}'", code)

    @property
    def available(self) -> tuple[str, ...]:
        """The standard columns that objects of this layout have, defaults included."""
        absent = "constituent" if self.candidates is None else ""
        standard = STANDARD[self.object]
        return tuple(name for name, column in standard.items() if column.level != absent)

    def expand(self, names: Iterable[str] | None) -> tuple[str, ...]:
        """Return standard columns by name, with `constituents` for all of theirs; None is all.

        Raises:
            ConfigError: if there is no such column.
        """
        if names is None:
            return self.available
        asked = set(names)
        if self.candidates is None and CONSTITUENTS in {n.partition(".")[0] for n in asked}:
            msg = f"layout '{self.name}' has no constituents: it links jets to no candidates"
            raise ConfigError(msg)
        for name in sorted(asked - {CONSTITUENTS}):
            if name not in self.available:
                msg = f"layout '{self.name}' has no column '{name}'. "
                raise ConfigError(msg + suggestion(name, {*self.available, CONSTITUENTS}))
        if CONSTITUENTS in asked:
            asked |= {name for name in self.available if name.startswith(f"{CONSTITUENTS}.")}
        return tuple(name for name in self.available if name in asked)

    def default(self, name: str) -> float:
        """Return the value of a column where a file does not have it."""
        column = self.columns.get(name)
        if column is None or column.default is None:
            return STANDARD[self.object][name].default
        return column.default

    def branches(self, names: Iterable[str] | None = None) -> set[str]:
        """Return all branches behind standard columns, counters and links included."""
        found: set[str] = set()
        for name in self.expand(names):
            found |= self._structure(name) | self._own(name)
        return found

    def required(self, names: Iterable[str] | None = None) -> set[str]:
        """Return the branches that a file must have to give some standard columns.

        Args:
            names: Standard columns that are needed, whether the layout calls them optional or not,
                unless the value they fall back on is as good; None is what the layout requires.

        Raises:
            ConfigError: if the layout has no such column.
        """
        found = set() if self.object == "cluster" else {f"n{self.jets}"}
        for name in self.expand(names):
            column = self.columns.get(name)
            needed = names is not None and math.isnan(self.default(name))
            if column is None and needed:
                msg = f"layout '{self.name}' has no column '{name}'. "
                raise ConfigError(msg + suggestion(name, self.columns))
            if STANDARD[self.object][name].level == "gen" and self.gen:
                needed = names is not None or self.gen.required
            if needed or (column is not None and column.required):
                found |= self._structure(name) | self._own(name)
        return found

    def _own(self, name: str) -> set[str]:
        """Return the branches that hold a column and its factors."""
        return set(self.columns[name].branches) if name in self.columns else set()

    def _structure(self, name: str) -> set[str]:
        """Return the counters and links that a column needs beside its own branches."""
        if self.object == "cluster":
            return set()
        found = {f"n{self.jets}"}
        level = STANDARD["jet"][name].level
        if level == "gen" and self.gen:
            found |= {self.gen.link, f"n{self.gen.collection}"}
        if level == "constituent" and self.candidates:
            link = self.candidates
            found |= {f"n{link.links}", f"n{link.collection}", link.jet, link.candidate}
        return found

    @property
    def schema_collections(self) -> Mapping[str, str]:
        """Prefixes with a counter and the record that the schema makes of each."""
        found = {} if not self.jets else {self.jets: "PtEtaPhiMLorentzVector"}
        if self.gen:
            found[self.gen.collection] = "PtEtaPhiMLorentzVector"
        if self.candidates:
            found[self.candidates.collection] = "PtEtaPhiMLorentzVector"
            found[self.candidates.links] = "NanoCollection"
        return {**found, **self.collections}


def _require_held(place: str, column: Column, dtype: str) -> None:
    """Refuse a default or a code that the standard column cannot hold."""
    for code in (code for pair in column.codes for code in pair):
        _require_whole(f"{place}: code", code)
    try:
        cast([] if column.default is None else [column.default], dtype, what=f"{place}: default")
    except DataError as error:
        raise ConfigError(str(error)) from error


def _require_whole(place: str, code: object) -> None:
    limits = np.iinfo(np.int64)
    try:
        sound = limits.min <= operator.index(code) <= limits.max  # type: ignore[arg-type]  # refused here
    except TypeError:
        sound = False
    if not sound:
        msg = f"{place} is {code!r}; needed: a whole number of 64 bits"
        raise ConfigError(msg)
