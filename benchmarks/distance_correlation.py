"""Time and peak memory of the distance correlation, forward and backward, on one thread.

    python benchmarks/distance_correlation.py [--up-to 1000000] [--naive-up-to 8192]

Every row is measured in its own process: the time is the best of three, the memory the highest
resident size less that after the imports and a small warm-up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from hepcalib.losses import distance_correlation

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SIZES = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 100_000, 262_144, 1_000_000)
REPEATS = 3


class Cost(NamedTuple):
    seconds: float
    mebibytes: float
    value: float


def naive(score: Tensor, nuisance: Tensor) -> Tensor:
    """The definition, by matrices of all pairs."""
    a, b = (score[:, None] - score).abs(), (nuisance[:, None] - nuisance).abs()

    def centred(distance: Tensor) -> Tensor:
        mean = distance.mean(0)
        return distance - mean - mean[:, None] + mean.mean()

    a, b = centred(a), centred(b)
    value: Tensor = (a * b).mean() / torch.sqrt((a * a).mean() * (b * b).mean())
    return value


def exact(score: Tensor, nuisance: Tensor) -> Tensor:
    """The penalty of the package."""
    return distance_correlation(score, nuisance)


def measure(form: str, n: int) -> Cost:
    """Measure one form at one size; to be run in a fresh process."""
    torch.set_num_threads(1)
    function: Callable[[Tensor, Tensor], Tensor] = {"naive": naive, "exact": exact}[form]
    generator = torch.Generator().manual_seed(1)

    def step(n: int) -> tuple[float, float]:
        nuisance, noise = torch.randn(2, n, generator=generator, dtype=torch.float64)
        score = (nuisance + noise).requires_grad_()
        start = time.perf_counter()
        value = function(score, nuisance)
        torch.autograd.grad(value, score)
        return time.perf_counter() - start, float(value.detach())

    step(256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = [step(n) for _ in range(REPEATS)]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(min(seconds for seconds, _ in runs), (after - before) / 1024, runs[-1][1])


def in_fresh_process(form: str, n: int) -> Cost:
    """Measure where nothing has been allocated before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (form, n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--up-to", type=int, default=SIZES[-1])
    parser.add_argument("--naive-up-to", type=int, default=8192)
    arguments = parser.parse_args()
    print(
        "|         n | exact [s] | exact [MiB] | naive [s] | naive [MiB] | faster by | difference |"
    )
    print(
        "|----------:|----------:|------------:|----------:|------------:|----------:|-----------:|"
    )
    for n in (n for n in SIZES if n <= arguments.up_to):
        cost = in_fresh_process("exact", n)
        line = f"| {n:>9,} | {cost.seconds:>9.4f} | {cost.mebibytes:>11.0f} |"
        if n <= arguments.naive_up_to:
            slow = in_fresh_process("naive", n)
            line += f" {slow.seconds:>9.3f} | {slow.mebibytes:>11.0f} |"
            line += (
                f" {slow.seconds / cost.seconds:>9.0f} | {abs(slow.value - cost.value):>10.0e} |"
            )
        else:
            line += f" {'':>9} | {'':>11} | {'':>9} | {'':>10} |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
