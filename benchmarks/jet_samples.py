"""Events per second of `hepcalib.samples.jets.simulate` on one core, and where the time goes.

python benchmarks/jet_samples.py [events]
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from hepcalib.samples.jets import block, simulate
from hepcalib.samples.jets.pileup import minimum_bias
from hepcalib.samples.jets.sample import ProcessName

if TYPE_CHECKING:
    from collections.abc import Callable

POOL = 2000
STAGES = {
    "generate": "generator",
    "overlay": "pile-up overlay",
    "reconstruct": "detector",
    "cluster": "anti-kt, reco and gen",
    "soft_drop_mass": "soft drop",
    "trimmed_mass": "trimming",
    "density": "rho",
    "areas": "areas",
    "match": "matching",
}


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        start = time.process_time()
        result = function(*args, **keywords)
        spent[name] = spent.get(name, 0.0) + time.process_time() - start
        return result

    return call


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(events: int) -> None:
    print(f"pool of {POOL} minimum-bias events: {seconds(lambda: minimum_bias(POOL)):.1f} s, once")
    spent: dict[str, float] = {}
    for name in STAGES:
        setattr(block, name, timed(getattr(block, name), name, spent))
    for process in get_args(ProcessName):
        start_up = seconds(partial(simulate, process, 1, seed=1))
        spent.clear()
        total = seconds(partial(simulate, process, events, seed=1, first=50))
        print(f"{process}: {events / total:.0f} events/s of CPU time; start {start_up:.1f} s, once")
        for name, label in STAGES.items():
            print(f"    {label:22} {1e3 * spent[name] / events:6.2f} ms/event")
        print(f"    {'all':22} {1e3 * total / events:6.2f} ms/event")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
