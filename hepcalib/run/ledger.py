"""The account of a run: expected = processed + skipped + failed, for every dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Account", "CheckedFile", "Counts", "Ledger", "Problem"]

_TOLERANCE = 1e-9  # of sums of weights, which are added in another order by every executor


class Counts(NamedTuple):
    """Numbers that balance if expected = processed + skipped + failed."""

    expected: float
    processed: float
    skipped: float
    failed: float

    @property
    def balance(self) -> float:
        """What is missing, or negative, what is too much."""
        return self.expected - (self.processed + self.skipped + self.failed)

    def plus(self, column: Literal["processed", "skipped", "failed"], value: float) -> Counts:
        """Return the counts with a value added to one column."""
        return self._replace(**{column: getattr(self, column) + value})


class Problem(NamedTuple):
    """Why some events were not processed; None stands for an unknown number."""

    file: str
    reason: str
    kind: Literal["failed", "skipped"]
    events: int | None
    sum_of_weights: float | None
    entries: tuple[int, int] | None


class CheckedFile(NamedTuple):
    """A file that was read, and whether its sha256 was compared with a declared one.

    Without that, bits that flipped in values of the file cannot be seen.
    """

    file: str
    sha256: str | None
    checked: bool


@dataclass(frozen=True)
class Account:
    """The events, chunks and weights of one dataset, its files, and what was wrong with it."""

    events: Counts
    chunks: Counts
    sum_of_weights: Counts
    problems: tuple[Problem, ...]
    weight_scale: float = 0.0  # sum of the moduli of the chunks' sums: what rounding goes with
    files: tuple[CheckedFile, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether every event, chunk and weight is accounted for."""
        scale = max(self.weight_scale, *(abs(value) for value in self.sum_of_weights))
        return (
            self.events.balance == 0
            and self.chunks.balance == 0
            and abs(self.sum_of_weights.balance) <= _TOLERANCE * scale
            and not any(p.kind == "failed" and p.events is None for p in self.problems)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the account as JSON can hold it."""
        return {
            "events": _integers(self.events),
            "chunks": _integers(self.chunks),
            "sum_of_weights": {k: float(v) for k, v in self.sum_of_weights._asdict().items()},
            "files": [file._asdict() for file in self.files],
            "problems": [
                {**p._asdict(), "entries": None if p.entries is None else list(p.entries)}
                for p in self.problems
            ],
        }


@dataclass(frozen=True)
class Ledger:
    """The accounts of all datasets of a run."""

    datasets: Mapping[str, Account]

    @property
    def balanced(self) -> bool:
        """Whether every dataset is accounted for."""
        return all(account.balanced for account in self.datasets.values())

    @property
    def ok(self) -> bool:
        """Whether the ledger is balanced and nothing failed."""
        return self.balanced and not any(a.chunks.failed for a in self.datasets.values())

    def complaint(self) -> str:
        """Return what went wrong in one line, empty if nothing did."""
        parts = []
        for name, account in self.datasets.items():
            failed = [p for p in account.problems if p.kind == "failed"]
            if failed:
                first = failed[0]
                others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
                parts.append(f"dataset '{name}': failed: {first.reason}{others}")
            elif not account.balanced:
                parts.append(
                    f"dataset '{name}': unaccounted for: {account.events.balance:g} events, "
                    f"{account.chunks.balance:g} chunks, sum of weights "
                    f"{account.sum_of_weights.balance:g}"
                )
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as JSON can hold it."""
        return {
            "balanced": self.balanced,
            "datasets": {name: account.to_json() for name, account in self.datasets.items()},
        }


def _integers(counts: Counts) -> dict[str, int]:
    return {name: int(value) for name, value in counts._asdict().items()}
