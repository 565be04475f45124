"""Where events come from, for error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Place"]


class Place(NamedTuple):
    """Dataset, file and entries in words, and the number of the first entry."""

    text: str = "events"
    first_entry: int = 0

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Place:
        """Read the place from the metadata of events, as far as it is there."""
        parts = []
        if metadata.get("dataset"):
            parts.append(f"dataset '{metadata['dataset']}'")
        if metadata.get("filename"):
            parts.append(str(metadata["filename"]))
        first = int(metadata.get("entrystart", 0))
        if "entrystop" in metadata:
            parts.append(f"entries {first}-{metadata['entrystop']}")
        return cls(", ".join(parts) or "events", first)
