"""Where the time of a prediction goes, stage by stage, on columns that are in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from benchmarks.constituents.paths import packed
from benchmarks.constituents.sample import LAYOUT, NEEDED, PaddedPFN
from hepcalib import bundles, inference, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Stage = Callable[[], object]

PREDICT, FEATURES, TRANSFORMS = "predict", "features", "transforms"
NETWORK, LOOP = "network", "packed loop"


def stage_task(folder: Path, files: Sequence[Path]) -> Callable[[], dict[str, list[float]]]:
    """Return what takes the CPU time [s] of each stage once, for the jets of each file.

    Each takes about as long as a matrix product is measured for: on a machine that is disturbed
    now and then, both have the same chance of a quiet moment.
    """
    bundle = bundles.load(folder / "bundle")
    plain = PaddedPFN(bundle).eval()
    prepared = [_stages(bundle, plain, file) for file in files]

    def task() -> dict[str, list[float]]:
        found = [timed(stages) for stages in prepared]
        return {name: [times[name] for times in found] for name in found[0]}

    return task


def _stages(bundle: bundles.Bundle, plain: PaddedPFN, file: Path) -> dict[str, Stage]:
    jets = ntuples.read(file, LAYOUT, columns=NEEDED)
    raw = bundle.inputs.extract(jets)
    ready = bundle.inputs(raw)
    items, counts = ready.constituents.values, ready.constituents.counts
    return {
        PREDICT: lambda: inference.predict(bundle, jets, device="cpu", threads=1),
        FEATURES: lambda: bundle.inputs.extract(jets),
        TRANSFORMS: lambda: bundle.inputs(raw),
        NETWORK: lambda: bundle.model.outputs(ready),
        LOOP: lambda: packed(plain, items, counts),
    }


def timed(stages: Mapping[str, Stage]) -> dict[str, float]:
    """CPU time [s] of each of them, one after the other, without gradients."""
    found: dict[str, float] = {}
    with torch.inference_mode():
        for name, stage in stages.items():
            start = time.process_time()
            stage()
            found[name] = time.process_time() - start
    return found
