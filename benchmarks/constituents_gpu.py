"""PFN and ParticleNet-Lite on a GPU, from host memory to host memory, with torch and numpy alone.

    python -m benchmarks.constituents_gpu [--jets 1000000] [--block 65536] [--json FILE]

Jets of 45 constituents in the mean and 200 at most lie in ordinary memory. Block by block they are
copied to one of two pinned buffers, sent, scored on the stream of the buffer, and the logits sent
back: while one block is computed, the next one travels. The best of some rounds counts. The FLOPs
of the linear layers are given as a share of what a large bfloat16 product reaches, the least that
these layers read and write as a share of what a large copy does. Without a GPU nothing is measured,
unless `--device cpu` asks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hepcalib.batch import Batch
from hepcalib.models import PFN, BernoulliHead, ParticleNetLite
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hepcalib.models import Model

    Score = Callable[[Batch], Tensor]

MEAN, LARGEST, SHAPE = 45.0, 200, 4.0
NEEDED = {"PFN": 5e6, "ParticleNet-Lite": 5e5}
INPUTS = {"PFN": 3, "ParticleNet-Lite": 7}
PRODUCT, COPY = 8192, 2**30  # side of the largest product; bytes of the largest copy


class Peaks(NamedTuple):
    """What the device reaches at its best."""

    flops: float  # [1/s] of a bfloat16 product
    bandwidth: float  # [B/s] read and written by a copy on the device
    transfer: float  # [B/s] from pinned memory to the device


class Speed(NamedTuple):
    """One network on one device."""

    network: str
    device: str
    precision: str
    compiled: bool
    jets_per_second: float
    needed: float
    share_of_flops: float
    share_of_bandwidth: float
    difference: float  # of the logits from those in float32, over their standard deviation


@dataclass
class Slot:
    """A pair of host buffers, pinned where there is a GPU, and the stream that serves them."""

    values: Tensor
    logits: Tensor
    stream: torch.cuda.Stream | None
    pending: tuple[Tensor, int] | None = None

    def collect(self) -> None:
        """Wait for what is under way and put it where it belongs."""
        if self.stream is not None:
            self.stream.synchronize()
        if self.pending is not None:
            target, rows = self.pending
            target.copy_(self.logits[:rows])
            self.pending = None


def sample(jets: int, inputs: int) -> Ragged:
    """Constituents of jets with standard normal features."""
    rng = np.random.default_rng(1)
    counts = rng.negative_binomial(SHAPE, SHAPE / (SHAPE + MEAN), jets).clip(1, LARGEST)
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    values = rng.standard_normal((int(offsets[-1]), inputs), dtype=np.float32)
    return Ragged(torch.from_numpy(values), torch.from_numpy(offsets))


def network(name: str, device: torch.device) -> Model:
    torch.manual_seed(1)
    architecture: type[PFN | ParticleNetLite] = PFN if name == "PFN" else ParticleNetLite
    return architecture(constituents=INPUTS[name], head=BernoulliHead()).eval().to(device)


def host_to_host(score: Score, jets: Ragged, *, block: int, device: torch.device) -> Tensor:
    """Return the logits of all jets, in blocks of so many, by two buffers in turn."""
    slots = [_slot(jets, block, device) for _ in range(2)]
    logits = torch.empty(jets.rows)
    for number, start in enumerate(range(0, jets.rows, block)):
        slot, part = slots[number % 2], jets.select(slice(start, start + block)).packed()
        slot.collect()
        slot.values[: part.items].copy_(part.values)
        with _on(slot.stream):
            values = slot.values[: part.items].to(device, non_blocking=True)
            offsets = part.offsets.to(device, non_blocking=True)
            found = score(Batch(constituents=Ragged(values, offsets))).flatten().float()
            slot.logits[: part.rows].copy_(found, non_blocking=True)
        slot.pending = logits[start : start + part.rows], part.rows
    for slot in slots:
        slot.collect()
    return logits


def speeds(
    name: str, *, jets: int, block: int, rounds: int, device: torch.device, compiled: bool
) -> list[Speed]:
    """Measure one network in float32 and in bfloat16."""
    model, sampled = network(name, device), sample(jets, INPUTS[name])
    peaks, exact, found = measure_peaks(device, small=device.type == "cpu"), None, []
    flops, traffic = layer_costs(model, sampled, device)
    outputs = torch.compile(model.outputs, dynamic=True) if compiled else model.outputs
    for precision in ("float32", "bfloat16"):

        def score(batch: Batch, half: bool = precision == "bfloat16") -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return outputs(batch)

        with torch.inference_mode():
            host_to_host(score, sampled.select(slice(0, 2 * block)), block=block, device=device)
            best, logits = _best(score, sampled, rounds=rounds, block=block, device=device)
        exact = logits if exact is None else exact
        size = 1.0 if precision == "float32" else 0.5
        found.append(
            Speed(
                network=name,
                device=_name(device),
                precision=precision,
                compiled=compiled,
                jets_per_second=jets / best,
                needed=NEEDED[name],
                share_of_flops=flops * jets / best / peaks.flops,
                share_of_bandwidth=size * traffic * jets / best / peaks.bandwidth,
                difference=float((logits - exact).abs().max() / exact.std()),
            )
        )
    return found


def layer_costs(model: Model, jets: Ragged, device: torch.device) -> tuple[float, float]:
    """FLOPs of the linear layers, and float32 bytes that they read and write, per jet."""
    some, flops, traffic = jets.select(slice(0, 256)), 0.0, 0.0

    def count(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal flops, traffic
        flops += 2.0 * output.numel() * inputs[0].shape[-1]
        traffic += 4.0 * (output.numel() + inputs[0].numel())

    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in linears]
    with torch.inference_mode():
        model.outputs(Batch(constituents=some.packed().to(device)))
    for hook in hooks:
        hook.remove()
    return flops / some.rows, traffic / some.rows


def measure_peaks(device: torch.device, *, small: bool = False) -> Peaks:
    """Measure products and copies as large as they are fastest at."""
    side, size = (256, 2**20) if small else (PRODUCT, COPY)
    left, right = torch.randn(2, side, side, device=device).bfloat16()
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target, host = torch.empty_like(source), torch.zeros(size, dtype=torch.uint8)
    host = host.pin_memory() if device.type == "cuda" else host
    return Peaks(
        2.0 * side**3 / _fastest(lambda: torch.mm(left, right), device),
        2.0 * size / _fastest(lambda: target.copy_(source), device),
        size / _fastest(lambda: target.copy_(host, non_blocking=True), device),
    )


def _best(
    score: Score, jets: Ragged, *, rounds: int, block: int, device: torch.device
) -> tuple[float, Tensor]:
    best, logits = math.inf, torch.empty(0)
    for _ in range(rounds):
        _synchronize(device)
        start = time.perf_counter()
        logits = host_to_host(score, jets, block=block, device=device)
        best = min(best, time.perf_counter() - start)
    return best, logits


def _fastest(call: Callable[[], Tensor], device: torch.device, repeats: int = 20) -> float:
    best = math.inf
    for _ in range(3):
        _synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        _synchronize(device)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def _slot(jets: Ragged, block: int, device: torch.device) -> Slot:
    edges = jets.offsets[:: min(block, max(1, jets.rows))]
    longest = int(torch.cat([edges, jets.offsets[-1:]]).diff().max())
    values, logits = jets.values.new_empty(longest, jets.values.shape[1]), torch.empty(block)
    if device.type != "cuda":
        return Slot(values, logits, None)
    return Slot(values.pin_memory(), logits.pin_memory(), torch.cuda.Stream(device))  # type: ignore[no-untyped-call]  # torch: untyped


@contextlib.contextmanager
def _on(stream: torch.cuda.Stream | None) -> Iterator[None]:
    with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
        yield


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main(arguments: list[str] | None = None) -> list[Speed]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jets", type=int, default=1_000_000)
    parser.add_argument("--block", type=int, default=65_536, help="jets on the device at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="by torch.compile")
    parser.add_argument("--network", choices=tuple(NEEDED), action="append")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.device is None and not torch.cuda.is_available():
        print("GPU: none is present")
        return []
    device, found = torch.device(chosen.device or "cuda"), []
    print(
        "| network          | precision |    jets/s |    needed | FLOP/s | bandwidth | difference |"
    )
    print(
        "|:-----------------|:----------|----------:|----------:|-------:|----------:|-----------:|"
    )
    for name in chosen.network or NEEDED:
        for one in speeds(
            name,
            jets=chosen.jets,
            block=chosen.block,
            rounds=chosen.rounds,
            device=device,
            compiled=chosen.compile,
        ):
            found.append(one)
            print(
                f"| {one.network:<16} | {one.precision:<9} | {one.jets_per_second:>9,.0f} "
                f"| {one.needed:>9,.0f} | {one.share_of_flops:>6.1%} "
                f"| {one.share_of_bandwidth:>9.1%} | {one.difference:>10.1e} |",
                flush=True,
            )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([one._asdict() for one in found], indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()
