"""Speed and memory of constituent networks on ragged jets, beside padded ones.

    python -m benchmarks.constituents [--jets 40000] [--rounds 3] [--json FILE] [--without scaling]

The same synthetic jets (45 constituents in the mean, 200 at most), the same weights and the same
run for all: `hepcalib.inference.predict`, coffea's `torch_wrapper` on jets padded to 128, torch on
jets padded by hand, and a lean loop over packed constituents, each in a coffea processor that
reads, computes features, scores and fills. Everything that is compared is measured in turn, round
after round, each in its own process on one thread, and its best round counts; what is compared with
the roofline has four times as many rounds, since it is short. Speeds are in CPU time, which other
programs disturb least, those of threads and workers in wall time; the peak memory is the highest
resident size of the process. The roofline is the FLOPs of the layers at the best rate that any
float32 matrix product reached on one thread in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

from benchmarks import constituents_gpu
from benchmarks.constituents import report
from benchmarks.constituents.measure import QUICK, Part, Sizes, everything


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jets", type=int, default=Sizes().jets)
    parser.add_argument("--rounds", type=int, default=Sizes().rounds)
    parser.add_argument("--chunk", type=int, default=Sizes().chunk, help="jets in a chunk")
    parser.add_argument(
        "--large", type=int, default=Sizes().large, help="jets of the largest chunk"
    )
    parser.add_argument("--without", choices=get_args(Part), action="append", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="only see whether all of it works")
    chosen = parser.parse_args(arguments)
    sizes = Sizes(jets=chosen.jets, rounds=chosen.rounds, chunk=chosen.chunk, large=chosen.large)
    sizes = QUICK if chosen.quick else sizes
    parts = tuple(part for part in get_args(Part) if part not in chosen.without)
    with tempfile.TemporaryDirectory() as folder:
        rows, about = everything(Path(folder), sizes, parts)
    report.show(rows, f"{sizes.jets:,} jets in chunks of {sizes.chunk:,}, best of {sizes.rounds}")
    if "gpu" in parts:
        about["gpu"] = [speed._asdict() for speed in constituents_gpu.main([])]
    if chosen.json is not None:
        report.write(chosen.json, rows, about)


if __name__ == "__main__":
    main()
