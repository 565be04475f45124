"""Samples of simulated jets: the events are shared out in blocks, in one or several processes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

import awkward as ak
import numpy as np

from hepcalib.exceptions import ConfigError, RunError, suggestion
from hepcalib.samples.jets.block import Settings, simulate_block
from hepcalib.samples.jets.branches import join
from hepcalib.samples.jets.detector import Detector
from hepcalib.samples.jets.draws import BLOCK
from hepcalib.samples.jets.generator import PROCESSES
from hepcalib.samples.jets.pileup import minimum_bias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hepcalib.samples.jets.particles import Array
    from hepcalib.samples.jets.pileup import MinimumBias

__all__ = ["ProcessName", "simulate"]

ProcessName = Literal["qcd", "wprime", "top"]

_MU_MAX = 400.0
_RADIUS_MAX = 1.5
_MIN_PT = 50.0  # GeV; below, the areas would need softer neighbours


def simulate(
    process: ProcessName,
    events: int,
    *,
    seed: int,
    first: int = 0,
    mu: float | tuple[float, float] = (40.0, 12.0),
    radius: float = 0.8,
    min_pt: float = 170.0,
    detector: Detector | None = None,
    pool: int = 2000,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    r"""Return events with pile-up, a detector, and jets linked to their candidates.

    Pythia 8 (arXiv:2203.11601) makes QCD dijets ("qcd"), :math:`W' \to W(qq) Z(\nu\nu)`
    ("wprime") or hadronic top pairs ("top"), sampled towards a flat pt of about 200-700 GeV;
    `genWeight`, positive, restores the physical spectrum of "qcd" and "top". FastJet
    (arXiv:1111.6097) makes the anti-kt jets, |eta| < 2.5.

    An event is decided by the process, the seed, its number and the size of the pool: neither the
    number of workers nor the range it is made in change it.

    Args:
        process: "qcd", "wprime" or "top".
        events: Number of events.
        seed: Seed, not negative.
        first: Number of the first event.
        mu: Mean number of pile-up interactions: one value, or mean and width of a normal
            distribution cut off below 0.
        radius: R of the jets.
        min_pt: Smallest pt of a jet [GeV].
        detector: Parameters of the detector; None is the default detector.
        pool: Number of minimum-bias events that the pile-up is drawn from; they are made once per
            process, in about 2.5 s per 1000.
        workers: Number of processes.
        progress: Called with the number of events made so far and in all.

    Returns:
        The branches of the flat jet layout without the counters: an array per event branch,
        a jagged array per branch of Jet, GenJet (|eta| < 3, half the jets' smallest pt and
        above), PFCand (the constituents of the kept jets) and JetPFCand. Energies in GeV. `run`
        tells the process, 1000 events make a luminosity block.

    Shapes:
        event branches: (events,); the others: events * var

    Raises:
        ConfigError: if an argument is out of range.
        HepcalibError: if pythia8mc or fastjet is not installed.
        RunError: if a process dies.
    """
    mean, width = (mu, 0.0) if isinstance(mu, (int, float)) else mu
    settings = Settings(
        process, seed, (float(mean), float(width)), radius, min_pt, detector or Detector()
    )
    _check(settings, events=events, first=first, pool=pool, workers=workers)
    tasks = _tasks(first, events)
    if not tasks:
        return join([])
    work = functools.partial(_block, settings=settings, pool=minimum_bias(pool))
    blocks: list[dict[str, Array]] = []
    for (number, rows), block in zip(tasks, _mapped(work, tasks, workers), strict=True):
        blocks.append(block)
        if progress is not None:
            progress(number * BLOCK + rows - first, events)
    skip = first - tasks[0][0] * BLOCK
    return {
        name: x[skip:] if isinstance(x, np.ndarray) else ak.to_packed(x[skip:])
        for name, x in join(blocks).items()
    }


def _tasks(first: int, events: int) -> list[tuple[int, int]]:
    """Return the blocks that hold the events, and how many events to make of each."""
    end = first + events
    blocks = range(first // BLOCK, -(-end // BLOCK)) if events else range(0)
    return [(block, min(BLOCK, end - block * BLOCK)) for block in blocks]


def _block(task: tuple[int, int], *, settings: Settings, pool: MinimumBias) -> dict[str, Array]:
    number, rows = task
    return simulate_block(number, rows, settings=settings, pool=pool)


def _mapped(
    work: Callable[[tuple[int, int]], dict[str, Array]],
    tasks: Sequence[tuple[int, int]],
    workers: int,
) -> Iterator[dict[str, Array]]:
    """Yield the blocks in the order of the tasks, as they are done."""
    if workers == 1:
        yield from map(work, tasks)
        return
    from hepcalib.processes import Broken, Workers

    try:
        with Workers(min(workers, len(tasks))) as pool:
            yield from pool.map(work, tasks)
    except Broken as error:
        msg = "samples.jets: a process that simulated events died; was there enough memory?"
        raise RunError(msg) from error


def _check(settings: Settings, **counts: int) -> None:
    if settings.process not in PROCESSES:
        known = suggestion(settings.process, PROCESSES)
        msg = f"samples.jets: unknown process '{settings.process}'. {known}"
        raise ConfigError(msg)
    lowest = {"events": 0, "first": 0, "pool": 1, "workers": 1}
    for name, value in counts.items():
        if value < lowest[name]:
            msg = f"samples.jets: {name} is {value}; allowed: {lowest[name]} or more."
            raise ConfigError(msg)
    for name, ok, allowed in (
        ("seed", settings.seed >= 0, "0 or more"),
        ("mu", all(0.0 <= x <= _MU_MAX for x in settings.mu), f"0 to {_MU_MAX:g}"),
        ("radius", 0.0 < settings.radius <= _RADIUS_MAX, f"above 0, up to {_RADIUS_MAX:g}"),
        ("min_pt", settings.min_pt >= _MIN_PT, f"{_MIN_PT:g} GeV or more"),
    ):
        if not ok:
            msg = f"samples.jets: {name} is {getattr(settings, name)}; allowed: {allowed}."
            raise ConfigError(msg)
