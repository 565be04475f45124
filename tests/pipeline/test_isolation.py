"""No analysis sees what another assigned to the events, or changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import hist
import numpy as np
import pytest
from coffea.processor import ProcessorABC

from hepcalib import ntuples
from hepcalib.pipeline.analyses import Joined
from hepcalib.pipeline.isolation import own_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def branch(events: Any) -> None:
    events["clusterE"] = events.clusterE * 2.0


def in_place(events: Any) -> None:
    np.asarray(events.clusterE)[:] *= 2.0


def metadata(events: Any) -> None:
    events.metadata["dataset"] = "another"
    events.attrs["mine"] = 1


class Doubling(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Changes the events, then sums what it sees."""

    def __init__(self, *, change: Callable[[Any], None] | None = None) -> None:
        self.change = change

    def process(self, events: Any) -> dict[str, Any]:
        if self.change is not None:
            self.change(events)
        total = float(ak.sum(events.clusterE))
        return {"h": hist.Hist.new.Reg(1, 0, 1, name="x").Weight().fill([0.5], weight=total)}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator


@pytest.mark.parametrize("change", [branch, in_place])
def test_changes_stay_in_their_analysis(
    cluster_file: Callable[..., Path], tmp_path: Path, change: Callable[[Any], None]
) -> None:
    path, read = cluster_file(tmp_path / "a.root"), list[Any]()
    total = float(np.sum(np.asarray(ntuples.read(path, "cluster_tree").energy)))
    joined = Joined(
        {"a": Doubling(change=change), "b": Doubling(), "c": Doubling(change=change)},
        datasets={key: ["d"] for key in "abc"},
    )
    with ntuples.open_events(
        path, "cluster_tree", metadata={"dataset": "d"}, access_log=read
    ) as events:
        output = joined.process(events)
    found = {name: h.sum().value / total for name, h in output.items()}
    assert found == pytest.approx({"a/h": 2.0, "b/h": 1.0, "c/h": 2.0}, rel=1e-6)
    assert len(read) == len(set(map(str, read)))  # each column once


def test_metadata_and_attributes_stay(cluster_file: Callable[..., Path], tmp_path: Path) -> None:
    path = cluster_file(tmp_path / "a.root")
    with ntuples.open_events(
        path, "cluster_tree", metadata={"dataset": "d", "list": [1]}
    ) as events:
        own = own_events(events)
        metadata(own)
        own.metadata["list"].append(2)
        assert events.metadata["dataset"] == "d"
        assert events.metadata["list"] == [1]
        assert "mine" not in events.attrs


def test_what_is_not_touched_is_not_read(cluster_file: Callable[..., Path], tmp_path: Path) -> None:
    read: list[Any] = []
    with ntuples.open_events(
        cluster_file(tmp_path / "a.root"), "cluster_tree", access_log=read
    ) as events:
        own = own_events(events)
        assert type(own) is type(events)
        assert read == []
        assert ak.all(own.clusterE == events.clusterE)
        assert len(read) == 1


def test_nested_fields_stay(cms_file: Path) -> None:
    with ntuples.open_events(cms_file, "nanoaod", stop=5) as events:
        own, other = own_events(events), own_events(events)
        own["FatJet", "mine"] = 1
        own["FatJet", "pt"] = own.FatJet.pt * 2
        own.FatJet["too"] = 1
        for untouched in (other, events):
            assert not {"mine", "too"} & set(untouched.FatJet.fields)
        assert ak.all(own.FatJet.pt == 2 * other.FatJet.pt)
        assert type(own.FatJet) is type(events.FatJet)
