"""Worker processes: each loads a model once, and all together do not take more than the cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import awkward as ak
import pytest
import torch
from coffea.processor import ProcessorABC

from hepcalib import inference, ntuples, run
from hepcalib.inference import Handle, RaggedWrapper
from hepcalib.run.executors import cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNKS, EVENTS = 12, 48


class Census(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Predicts twice per chunk; tells loads, threads and chunks of each process."""

    def __init__(self, tagger: Handle) -> None:
        self.tagger, self.wrapper = tagger, RaggedWrapper(tagger, device="cpu")

    def process(self, events: ak.Array) -> dict[str, Any]:
        jets = ntuples.objects(events)
        scores = inference.predict(self.tagger, jets, device="cpu").score
        again = self.wrapper(jets).score
        assert ak.array_equal(scores, again)
        process = os.getpid()
        return {
            "sum": float(ak.sum(scores)),
            "jets": int(ak.sum(ak.num(jets))),
            "loads": {(process, inference.loads())},
            "threads": {(process, torch.get_num_threads())},
            "chunks": {(process, events.metadata["entrystart"])},
        }


@pytest.mark.parametrize("executor", ["dask", "futures"])
def test_a_model_is_loaded_once_per_process(
    tmp_path: Path,
    jet_file: Callable[..., Path],
    bundle: Callable[..., Path],
    executor: str,
) -> None:
    path = jet_file(tmp_path / "jets.root", counts=[2, 0, 1, 3] * (EVENTS // 4))
    tagger = Handle.of(bundle(tmp_path / "tagger", model="tagger"))
    dataset = run.scan_dataset("jets", [path], "flat_jets")
    result = run.process(
        Census(tagger), [dataset], executor=executor, workers=2, chunk_size=EVENTS // CHUNKS
    )
    found = result.output
    assert len(result.processed) == len(found["chunks"]) == CHUNKS
    processes = {process for process, _ in found["loads"]}
    assert found["loads"] == {(process, 1) for process in processes}
    assert os.getpid() not in processes
    assert len(processes) * max(threads for _, threads in found["threads"]) <= max(2, cores())
    assert {process for process, _ in found["threads"]} == processes
    jets = ak.flatten(ntuples.read(path, "flat_jets"))
    expected = inference.predict(tagger, jets, device="cpu").score
    assert found["jets"] == len(jets)
    assert found["sum"] == pytest.approx(float(ak.sum(expected)), rel=1e-5)
