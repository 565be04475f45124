"""A first look at some of the events, for processors that must know them to bin the others."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coffea.processor import ProcessorABC

    from hepcalib.run.chunks import Chunk

__all__ = ["Learner", "informed", "sampled"]

SAMPLE = 40_000  # events of a survey, the same share for each dataset
WHOLE = 5 * SAMPLE  # events that a processor may keep row by row without one
_WINDOWS = 20  # of a dataset, evenly spread: its files may differ


@runtime_checkable
class Learner(Protocol):
    """A processor that learns from some events how to bin all of them."""

    def pilot(self) -> ProcessorABC | None:
        """Return the processor of the survey; None if nothing is to be learned."""
        ...

    def informed(self, output: Any) -> ProcessorABC:
        """Return the processor that has learned from the output of its pilot."""
        ...


def informed(
    processor: ProcessorABC,
    chunks: Sequence[Chunk],
    survey: Callable[[ProcessorABC, Sequence[Chunk]], Any],
) -> ProcessorABC:
    """Return the processor, after a survey if it wants one and there are many events.

    Args:
        processor: The processor.
        chunks: All chunks of the run.
        survey: Returns the summed output of a processor for chunks; None if all have failed.
    """
    if not isinstance(processor, Learner) or sum(chunk.entries for chunk in chunks) <= WHOLE:
        return processor
    pilot = processor.pilot()
    output = None if pilot is None else survey(pilot, sampled(chunks))
    return processor if output is None else processor.informed(output)


def sampled(chunks: Sequence[Chunk], *, events: int = SAMPLE) -> tuple[Chunk, ...]:
    """Return chunks with some of the events, whatever chunks these are cut into.

    Args:
        chunks: All chunks, those of a file one behind the other.
        events: Number of events, about the same for each dataset; all of them, if it has fewer.
    """
    datasets = [list(found) for _, found in itertools.groupby(chunks, lambda one: one.dataset)]
    return tuple(
        part for one in datasets for part in _windows(_files(one), events // len(datasets))
    )


def _files(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return one chunk per file."""
    found = (list(parts) for _, parts in itertools.groupby(chunks, lambda one: one.file_number))
    return [parts[0]._replace(stop=parts[-1].stop) for parts in found]


def _windows(files: Sequence[Chunk], events: int) -> Iterator[Chunk]:
    """Yield parts of files: windows that are evenly spread over all of their entries."""
    total, before = sum(file.entries for file in files), 0
    size = min(events, total)
    starts = [total * n // _WINDOWS for n in range(_WINDOWS)]
    lengths = [size * (n + 1) // _WINDOWS - size * n // _WINDOWS for n in range(_WINDOWS)]
    for file in files:
        for start, length in zip(starts, lengths, strict=True):
            low = max(start - before, 0)
            high = min(start + length - before, file.entries)
            if low < high:
                yield file._replace(start=file.start + low, stop=file.start + high)
        before += file.entries
