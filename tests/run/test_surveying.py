from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from coffea.processor import ProcessorABC

from hepcalib import run
from hepcalib.run import surveying
from hepcalib.run.chunks import Chunk, plan
from hepcalib.run.surveying import sampled

if TYPE_CHECKING:
    import awkward as ak

    from hepcalib.run import Dataset


def chunk(dataset: str, number: int, start: int, stop: int) -> Chunk:
    return Chunk(dataset, f"{dataset}{number}", "t", "flat_jets", number, "", start, stop, {})


def events(chunks: tuple[Chunk, ...]) -> list[tuple[int, int]]:
    return [(c.file_number, entry) for c in chunks for entry in range(c.start, c.stop)]


def test_a_sample_is_spread_over_all_files_of_each_dataset() -> None:
    chunks = [
        chunk("a", 0, 0, 3000),
        chunk("a", 1, 0, 10),
        chunk("a", 2, 0, 0),
        chunk("a", 3, 0, 7000),
        chunk("b", 4, 0, 90),
    ]
    found = sampled(chunks, events=400)
    taken = events(found)
    assert len(set(taken)) == len(taken)
    a, b = ([one for one in taken if (one[0] == 4) is last] for last in (False, True))
    assert len(b) == 90  # all there are
    assert 180 <= len(a) <= 200  # a window may end with its file
    shares = [sum(number == file for number, _ in a) for file in (0, 3)]
    assert shares[0] == pytest.approx(60, abs=20)
    assert max(entry for number, entry in a if number == 3) > 6000
    assert all(c.stop <= file.stop for c in found for file in chunks if c.path == file.path)


@pytest.mark.parametrize("size", [7, 50, 1000])
def test_a_sample_does_not_depend_on_the_chunks(small: Dataset, size: int) -> None:
    entries = sum(file.entries for file in small.files)
    whole = sampled(plan([small], chunk_size=10**6).chunks, events=entries // 2)
    assert events(sampled(plan([small], chunk_size=size).chunks, events=entries // 2)) == events(
        whole
    )
    limited = plan([small], chunk_size=size, max_events=entries // 2).chunks
    assert len(events(sampled(limited, events=entries))) == entries // 2


class Centred(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Counts the events behind the mean entry of the survey."""

    middle: float | None = None

    def process(self, events: ak.Array) -> dict[str, Any]:
        entry = events.metadata["entrystart"] + np.arange(len(events))
        if self.middle is None:
            return {"entries": len(entry), "sum": int(entry.sum())}
        return {"behind": int((entry > self.middle).sum()), "middle": {self.middle}}

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator

    def pilot(self) -> Self | None:
        return self

    def informed(self, output: Any) -> Centred:
        found = Centred()
        found.middle = output["sum"] / output["entries"]
        return found


def test_a_learner_of_many_events_learns_once(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run.process(Centred(), [small], chunk_size=20)
    assert set(plain.output) == {"entries", "sum"}
    monkeypatch.setattr(surveying, "WHOLE", 10)
    learnt = run.process(Centred(), [small], chunk_size=20)
    others = run.process(Centred(), [small], chunk_size=20, executor="futures", workers=2)
    assert others.output == learnt.output
    assert len(learnt.output["middle"]) == 1
    assert 0 < learnt.output["behind"] < plain.output["entries"]
    assert learnt.ledger.to_json() == plain.ledger.to_json()
    assert learnt.processed == plain.processed


class Nothing(Centred):
    def pilot(self) -> None:
        return None


class Failing(Centred):
    def __init__(self, *, behind: int) -> None:
        self.behind = behind

    def process(self, events: ak.Array) -> dict[str, Any]:
        if events.metadata["entrystart"] > self.behind:
            msg = "not this one"
            raise ValueError(msg)
        return super().process(events)


def test_what_a_part_of_the_survey_gives_is_enough(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "WHOLE", 10)
    result = run.process(Failing(behind=0), [small])
    assert result.ledger.ok
    assert result.output["middle"] == {0.0}  # of the first window


@pytest.mark.parametrize("processor", [Nothing(), Failing(behind=-1)])
def test_without_a_survey_the_processor_is_what_it_was(
    processor: ProcessorABC, small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "WHOLE", 10)
    result = run.process(processor, [small])
    expected = {"entries", "sum"} if isinstance(processor, Nothing) else set()
    assert set(result.output) == expected
    assert result.ledger.ok == bool(expected)
