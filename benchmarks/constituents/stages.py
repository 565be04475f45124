"""Where the time of a prediction goes, stage by stage, on columns that are in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import awkward as ak
import torch

from benchmarks.constituents.paths import packed
from benchmarks.constituents.sample import LAYOUT, NEEDED, PaddedPFN
from hepcalib import bundles, inference, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PREDICT, FEATURES, TRANSFORMS = "predict", "features", "transforms"
NETWORK, LOOP = "network", "packed loop"


def stage_task(folder: Path, files: Sequence[Path]) -> Callable[[], dict[str, float]]:
    """Return what takes the CPU time [s] of each stage once, for all jets of the files."""
    jets = ak.concatenate([ntuples.read(file, LAYOUT, columns=NEEDED) for file in files])
    bundle = bundles.load(folder / "bundle")
    raw = bundle.inputs.extract(jets)
    ready = bundle.inputs(raw)
    plain = PaddedPFN(bundle).eval()
    items, counts = ready.constituents.values, ready.constituents.counts
    return lambda: timed(
        {
            PREDICT: lambda: inference.predict(bundle, jets, device="cpu", threads=1),
            FEATURES: lambda: bundle.inputs.extract(jets),
            TRANSFORMS: lambda: bundle.inputs(raw),
            NETWORK: lambda: bundle.model.outputs(ready),
            LOOP: lambda: packed(plain, items, counts),
        }
    )


def timed(stages: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """CPU time [s] of each of them, one after the other, without gradients."""
    found: dict[str, float] = {}
    with torch.inference_mode():
        for name, stage in stages.items():
            start = time.process_time()
            stage()
            found[name] = time.process_time() - start
    return found
