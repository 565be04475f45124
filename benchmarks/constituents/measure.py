"""All measurements in their order, as rows of the report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from benchmarks.constituents import particle_nets, sample, scaling, stages
from benchmarks.constituents.paths import PATHS, Double, Nothing, Rounded, Scores, run
from benchmarks.constituents.report import Row, machine
from benchmarks.constituents.roofline import Shape, Work, rate_task, read_task, work
from benchmarks.constituents.workers import Measured, Worker, in_turn
from hepcalib import bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Part: TypeAlias = Literal["paths", "particle_net", "scaling", "memory", "gpu"]
ROOFLINE, READING, COFFEA = "roofline", "reading alone", "coffea alone"
FASTER = "hepcalib is faster by"
NEEDED_SPEED = {"torch_wrapper": 8.0, "hand-padded, 1024 at a time": 6.0}
OFTENER = 4  # rounds of what takes seconds, for each round of the padded paths
MEGABYTES, MEGABYTES_ABOVE = 600.0, 1.5 * 2**30 / 1e6


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    jets: int = 40_000
    chunk: int = 10_000  # jets
    rounds: int = 3
    large: int = 100_000  # jets of the chunk with the huge one
    graph: int = 4_000  # jets of the graph networks
    fresh: bool = True  # each measurement in its own process
    seconds: float = 0.3  # for each matrix product

    @property
    def events(self) -> int:
        """Events in a chunk."""
        return max(1, self.chunk // sample.JETS_PER_EVENT)


QUICK = Sizes(jets=40, chunk=40, rounds=1, large=40, graph=10, fresh=False, seconds=0.001)


def everything(
    folder: Path, sizes: Sizes, parts: tuple[Part, ...] = get_args(Part)
) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what they depend on."""
    jets = sample.columns(sample.multiplicities(sizes.jets))
    files = sample.write_chunks(folder, jets, sizes.events)
    sample.save_bundle(folder / "bundle", sample.pfn(), jets[:2000], sample.FEATURES)
    sample.save_script(folder / "network.pt", bundles.load(folder / "bundle"))
    about: dict[str, Any] = {"machine": machine(), "sizes": dataclasses.asdict(sizes)}
    rows: list[Row] = []
    if "paths" in parts:
        rows += _paths(folder, files, sizes, about)
    if "particle_net" in parts:
        rows += _particle_net(sizes)
    if "scaling" in parts:
        rows += _scaling(folder, files, sizes)
    if "memory" in parts:
        rows += _memory(folder, sizes)
    return rows, about


def _paths(folder: Path, files: list[Path], sizes: Sizes, about: dict[str, Any]) -> list[Row]:
    """All ways to the same scores in turn, then ours with reading and matrix products alone."""
    ours = next(iter(PATHS))
    arithmetic = _arithmetic(sizes)
    whole: dict[str, tuple[Any, ...]] = {
        **{name: (path_task, path(folder), files, sizes.events) for name, path in PATHS.items()},
        COFFEA: (path_task, Nothing(folder), files, sizes.events),
    }
    parts: dict[str, tuple[Any, ...]] = {
        ours: whole[ours],
        READING: (read_task, files, sizes.events),
        ROOFLINE: (rate_task, tuple(arithmetic.flops), sizes.seconds),
        stages.PREDICT: (stages.stage_task, folder, files),
    }
    beside = in_turn(_workers(whole, sizes), sizes.rounds)
    found = in_turn(_workers(parts, sizes), OFTENER * sizes.rounds)
    rates = {s: max(one.result[s] for one in found[ROOFLINE]) for s in found[ROOFLINE][0].result}
    about["GFLOP/s of products (rows, inputs, outputs)"] = {
        str(shape): rate / 1e9 for shape, rate in rates.items()
    }
    about["differences of the scores"] = differences = agreement(
        folder, files[0], sizes, {name: beside[name][-1].result for name in PATHS}
    )
    least = _cpu(found[READING]) + arithmetic.least_seconds(rates)
    rows = _end_to_end(beside, sizes.jets, _cpu(found[ours]) / least)
    for name, alone in ((READING, found[READING]), (COFFEA, beside[COFFEA])):
        rows.append(Row("end to end", name, sizes.jets / _cpu(alone)))
    rows += [
        Row(
            "agreement", name, ratio=ratio, of="largest difference / tolerance", bound=1, sense="<="
        )
        for name, ratio in differences.items()
    ]
    return rows + _inference(found[stages.PREDICT], sizes.jets, arithmetic, rates)


def _arithmetic(sizes: Sizes) -> Work:
    items = int(sample.multiplicities(sizes.jets).sum())
    return work(sample.pfn(), jets=sizes.jets, items=items)


def _cpu(found: list[Measured]) -> float:
    return min(one.cpu for one in found)


def _end_to_end(found: Mapping[str, list[Measured]], jets: int, over_least: float) -> list[Row]:
    best = {name: _cpu(found[name]) for name in PATHS}
    (ours, *others), section = PATHS, "end to end"
    time, peak = best[ours], found[ours][-1].peak
    of = "time of reading and roofline"
    rows = [Row(section, ours, jets / time, peak, over_least, of, 1.4, "<=")]
    for name in others:
        needed = NEEDED_SPEED.get(name)
        sense = ">=" if needed else ""
        gain = best[name] / time
        memory = found[name][-1].peak
        rows.append(Row(section, name, jets / best[name], memory, gain, FASTER, needed, sense))
    rows.append(Row(section, "hepcalib, memory", None, peak, None, "", MEGABYTES, "<="))
    return rows


def _inference(
    found: list[Measured], jets: int, arithmetic: Work, rates: Mapping[Shape, float]
) -> list[Row]:
    """What a prediction consists of, in units of the arithmetic."""
    best = {
        name: sum(map(min, zip(*(one.result[name] for one in found), strict=True)))
        for name in found[0].result
    }
    least, section, of = arithmetic.least_seconds(rates), "inference", "time of the roofline"
    inference = best[stages.PREDICT] - best[stages.FEATURES]
    times: dict[str, tuple[float, float | None]] = {
        "network, from inputs to logits": (best[stages.NETWORK], 1.25),
        "packed loop, likewise": (best[stages.LOOP], None),
        "matrix products at the rate of each layer": (arithmetic.seconds(rates), None),
        "features, from columns": (best[stages.FEATURES], None),
        "transforms of the inputs, alone": (best[stages.TRANSFORMS], None),
        "predict without features": (inference, None),
        "predict, from columns to scores": (best[stages.PREDICT], None),
    }
    rows = [
        Row(section, name, jets / time, None, time / least, of, bound, "<=" if bound else "")
        for name, (time, bound) in times.items()
    ]
    return [Row(section, "roofline", jets / least), *rows]


def _particle_net(sizes: Sizes) -> list[Row]:
    tasks = {
        "ParticleNet-Lite": (particle_nets.ours_task, sizes.graph),
        "ParticleNet-Lite, padded": (particle_nets.padded_task, sizes.graph),
    }
    found = in_turn(_workers(tasks, sizes), sizes.rounds)
    best = {name: _cpu(found[name]) for name in tasks}
    (ours, padded), section = tasks, "graph network"
    gain, peaks = best[padded] / best[ours], {name: found[name][-1].peak for name in tasks}
    rows = [
        Row(section, ours, sizes.graph / best[ours], peaks[ours]),
        Row(section, padded, sizes.graph / best[padded], peaks[padded], gain, FASTER, 2.0, ">="),
    ]
    within = sample.multiplicities(sizes.graph) <= sample.PADDING
    logits, other = (found[name][-1].result[within] for name in tasks)
    agreeing = float(np.mean(abs(logits - other) < 1e-4 * logits.std()))
    rows.append(
        Row(section, "agreement", ratio=agreeing, of="share of jets", bound=0.99, sense=">=")
    )
    return rows


def _scaling(folder: Path, files: list[Path], sizes: Sizes) -> list[Row]:
    jets = min(sizes.jets, 20_000)
    tasks: dict[str, tuple[Any, ...]] = {
        "constituents in each jet": (scaling.multiplicity_task, folder, round(45 * jets / 2)),
        "jets and constituents in a block": (scaling.block_task, folder, jets),
        "constituents in the network at a time": (scaling.network_block_task, folder, jets),
        "threads (wall time)": (scaling.thread_task, folder, jets),
        "workers, whole processor (wall time)": (
            scaling.WorkerTask,
            folder,
            files,
            sizes.events,
            sizes.jets,
        ),
    }
    rows = []
    for name, task in tasks.items():
        found = in_turn(_workers({name: task}, sizes), sizes.rounds)[name]
        rows += [
            Row(f"scaling: {name}", setting, max(one.result[setting] for one in found))
            for setting in found[0].result
        ]
    return rows


def _memory(folder: Path, sizes: Sizes) -> list[Row]:
    graph = folder / "graph"
    jets = sample.columns(sample.multiplicities(min(500, sizes.large)))
    sample.save_bundle(graph, particle_nets.network(), jets, particle_nets.INPUTS)
    section = f"above the columns, {sizes.large:,} jets, one of {scaling.HUGE:,}"
    rows = []
    for name, bundle in {"PFN": folder / "bundle", "ParticleNet-Lite": graph}.items():
        worker = Worker(scaling.memory_task, bundle, sizes.large, fresh=sizes.fresh)
        found: Measured = worker()
        worker.close()
        rows.append(Row(section, name, megabytes=found.result, bound=MEGABYTES_ABOVE, sense="<="))
    return rows


def path_task(
    processor: Scores, files: list[Path], chunk: int
) -> Callable[[], NDArray[np.float64]]:
    """Return what runs a processor over the files, for the scores of all jets in their order."""

    def process() -> NDArray[np.float64]:
        parts = run(processor, files, chunk)["scores"]
        return np.concatenate([parts[place] for place in sorted(parts)]).astype(np.float64)

    return process


def agreement(
    folder: Path, file: Path, sizes: Sizes, scores: Mapping[str, NDArray[np.float64]]
) -> dict[str, float]:
    """Largest difference of the scores of each path from those in float64, over the tolerance.

    For jets of the first file within the padding. The tolerance is eight times the spread of the
    scores when every layer and the features are changed at random by as much as float32 rounds.
    """
    within = sample.multiplicities(sizes.jets) <= sample.PADDING
    exact, rounded = (path_task(path(folder), [file], sizes.events)() for path in (Double, Rounded))
    tolerance, within = 8.0 * (rounded - exact).std(), within[: len(exact)]
    return {
        name: float(abs(found[: len(exact)] - exact)[within].max() / tolerance)
        for name, found in scores.items()
    }


def _workers(tasks: Mapping[str, tuple[Any, ...]], sizes: Sizes) -> dict[str, Worker]:
    return {
        name: Worker(factory, *arguments, fresh=sizes.fresh)
        for name, (factory, *arguments) in tasks.items()
    }
