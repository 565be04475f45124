"""Small files of jets, processors, and executors."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

import awkward as ak
import numpy as np
import pytest
from coffea.processor import ProcessorABC
from hist import Hist

from hepcalib import ntuples
from hepcalib.run import Dataset, scan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Counting(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """A histogram of the published jet pT, and the number of jets, per dataset."""

    def process(self, events: ak.Array) -> dict[str, Any]:
        jets = ak.flatten(ntuples.objects(events))
        name = events.metadata["dataset"]
        pt = np.asarray(jets.pt_published, dtype=np.float64)
        histogram = Hist.new.Reg(50, 0, 500, name="pt").Weight()
        histogram.fill(pt=pt, weight=np.asarray(jets.weight))
        return {f"{name}/pt": histogram, f"{name}/jets": len(jets), f"{name}/sum": pt.sum()}


class Failing(Counting):
    """Raises an error in the chunk that starts at an entry; tells the threads of its process."""

    def __init__(self, entry: int, error: BaseException) -> None:
        self.entry = entry
        self.error = error

    def process(self, events: ak.Array) -> dict[str, Any]:
        if events.metadata["entrystart"] == self.entry:
            raise self.error
        return {**super().process(events), "threads": {os.environ.get("OMP_NUM_THREADS")}}


class Killing(Counting):
    """Kills the process that works on the chunk that starts at an entry."""

    def __init__(self, entry: int, *, once: Path | None = None) -> None:
        self.entry = entry
        self.once = once

    def process(self, events: ak.Array) -> dict[str, Any]:
        if events.metadata["entrystart"] == self.entry and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process(events)


class Growing(Counting):
    """Takes memory in the second chunk that it keeps; tells the process of each chunk."""

    kept: ClassVar[list[np.ndarray[Any, Any]]] = []

    def process(self, events: ak.Array) -> dict[str, Any]:
        if events.metadata["entrystart"] > 0 and not self.kept:
            time.sleep(1.1)  # loky looks at the memory once in a second
            self.kept.append(np.ones(45_000_000))  # 360 MB
        return {**super().process(events), "processes": {os.getpid()}}


@pytest.fixture
def counting() -> ProcessorABC:
    return Counting()


@pytest.fixture
def failing() -> type[Failing]:
    return Failing


@pytest.fixture
def killing() -> type[Killing]:
    return Killing


@pytest.fixture
def growing() -> type[Growing]:
    return Growing


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a dask scheduler with two workers."""
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]  # distributed is untyped
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as local:
        yield local.scheduler_address


@pytest.fixture(params=["iterative", "futures", "dask"])
def executor(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments of `process` for each executor; that of dask shares one cluster."""
    options: dict[str, Any] = {"executor": request.param}
    if request.param == "futures":
        options["workers"] = 1  # starting processes is what takes long here
    if request.param == "dask":
        options["address"] = request.getfixturevalue("cluster")
    return options


@pytest.fixture
def small_jets(tmp_path: Path) -> Path:
    """Thirty events of AK4 jets with weights of both signs."""
    return _write_jets(tmp_path / "small.root", events=30, seed=3)


@pytest.fixture
def small(small_jets: Path) -> Dataset:
    return scan_dataset("small", [small_jets], "nanoaod_ak4")


@pytest.fixture
def jets_file() -> Callable[..., Path]:
    """What writes such files."""
    return _write_jets


@pytest.fixture
def reference(data: Path) -> Dataset:
    """The good one of the damaged files."""
    return scan_dataset("reference", [data / "damaged" / "reference_zstd.root"], "nanoaod_ak4")


def _write_jets(path: Path, *, events: int, seed: int) -> Path:
    """Write events of AK4 jets in the layout of NanoAOD."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, events)
    gen = rng.integers(0, 3, events)

    def per_jet(low: float, high: float) -> ak.Array:
        values = rng.uniform(low, high, counts.sum()).astype(np.float32)
        return ak.unflatten(values, counts)

    columns: dict[str, Any] = {
        "run": np.ones(events, np.uint32),
        "luminosityBlock": np.ones(events, np.uint32),
        "event": np.arange(events, dtype=np.uint64),
        "genWeight": rng.normal(1.0, 2.0, events).astype(np.float32),
        "PV_npvs": rng.integers(10, 50, events).astype(np.uint8),
        "Rho_fixedGridRhoFastjetAll": rng.uniform(10, 40, events).astype(np.float32),
        "Jet_pt": per_jet(20, 500),
        "Jet_eta": per_jet(-2.5, 2.5),
        "Jet_phi": per_jet(-3.1, 3.1),
        "Jet_mass": per_jet(1, 50),
        "Jet_rawFactor": per_jet(0, 0.2),
        "GenJet_pt": ak.unflatten(rng.uniform(20, 500, gen.sum()).astype(np.float32), gen),
    }
    ntuples.write(path, "Events", columns)
    return path
