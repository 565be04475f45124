"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

_GROUP = re.compile(r'^pytestmark = pytest\.mark\.xdist_group\("(\w+)"\)', re.MULTILINE)
_DEFAULT = Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the collector what was imported: searching it again took half the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def freed() -> Iterator[None]:
    """Give back what the tests of a file freed: glibc keeps it in between what is used."""
    yield
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Give the tests of a file, and the files of a group, to one worker: fixtures are made once.

    pytest-xdist hands the groups on in the names of the tests, which pytest 9.2 no longer lets it
    change: https://github.com/pytest-dev/pytest-xdist/issues/1386.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
        def _split_scope(self, nodeid: str) -> str:
            return _scope(config.rootpath / nodeid.partition("::")[0])

    config.option.loadscopereorder = False  # the most tests are not the longest
    return Grouped(config, log)


@functools.cache
def _scope(file: Path) -> str:
    """Return the group that a file of tests says it belongs to, or else the file."""
    group = _GROUP.search(file.read_text(encoding="utf-8"))
    return group[1] if group else str(file)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real and damaged files; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("HEPCALIB_DATA", _DEFAULT))
    if not (folder / "SHA256SUMS").is_file():
        pytest.skip(f"the folder of real files is not at {folder}; set HEPCALIB_DATA")
    return folder


@pytest.fixture(scope="session")
def cluster_file() -> Callable[..., Path]:
    """Write a ClusterTree of simulated clusters; a branch given as None is left out."""
    from hepcalib import ntuples
    from hepcalib.samples import topoclusters

    def write(path: Path, *, clusters: int = 60, seed: int = 1, **branches: Any) -> Path:
        columns = {**topoclusters.simulate(clusters, seed=seed), **branches}
        present = {name: column for name, column in columns.items() if column is not None}
        ntuples.write(path, "ClusterTree", present)
        return path

    return write


@pytest.fixture(scope="session")
def jet_file() -> Callable[..., Path]:
    """Write events of random jets in the flat layout; a branch given as None is left out.

    `counts` are the jets of each event, `sizes` the constituents of each jet.
    """
    from hepcalib import ntuples

    def write(
        path: Path,
        *,
        counts: list[int] | None = None,
        sizes: list[int] | None = None,
        seed: int = 2,
        **branches: Any,
    ) -> Path:
        columns = {**_jets(counts or [2, 0, 1, 3] * 8, sizes, seed), **branches}
        present = {name: column for name, column in columns.items() if column is not None}
        ntuples.write(path, "Events", present)
        return path

    return write


@pytest.fixture(scope="session")
def bundle() -> Callable[..., Path]:
    """Save an untrained model, of clusters or jets, as a bundle; return its folder."""
    return _bundle


def _jets(counts: list[int], sizes: list[int] | None, seed: int) -> dict[str, Any]:
    import awkward as ak
    import numpy as np

    random = np.random.default_rng(seed)
    events, jets = len(counts), sum(counts)
    size = np.asarray(random.integers(0, 6, jets) if sizes is None else sizes, np.int64)
    event = np.repeat(np.arange(events), counts)
    candidates = np.bincount(event, weights=size, minlength=events).astype(np.int64)
    items = int(size.sum())
    rank = ak.local_index(ak.unflatten(np.zeros(jets), counts))

    def per(counts: Any, low: float, high: float) -> ak.Array:
        values = random.uniform(low, high, int(np.sum(counts))).astype(np.float32)
        return ak.unflatten(values, counts)

    pt = per(counts, 200, 600)
    directions = {"eta": (-2, 2), "phi": (-3, 3)}
    return {
        "run": np.ones(events, np.int32),
        "luminosityBlock": np.ones(events, np.int32),
        "event": np.arange(events, dtype=np.int64),
        "genWeight": random.uniform(0.5, 1.5, events),
        "mu": random.uniform(10, 70, events).astype(np.float32),
        "nPV": random.integers(5, 50, events).astype(np.int32),
        "rho": random.uniform(5, 40, events).astype(np.float32),
        "Jet_pt": pt,
        "Jet_mass": per(counts, 5, 200),
        "Jet_msoftdrop": per(counts, 50, 300),
        "Jet_mtrimmed": per(counts, 50, 300),
        "Jet_genJetIdx": rank,
        "Jet_label": rank % 2,
        "GenJet_pt": pt * per(counts, 0.8, 1.2),
        "GenJet_mass": per(counts, 5, 200),
        "PFCand_pt": per(candidates, 1, 50),
        "PFCand_mass": per(candidates, 0, 0.2),
        "PFCand_pdgId": ak.unflatten(random.choice([22, 130, 211, -211], items), candidates),
        "JetPFCand_jetIdx": ak.unflatten(np.repeat(np.asarray(ak.flatten(rank)), size), candidates),
        "JetPFCand_pfCandIdx": ak.local_index(ak.unflatten(np.zeros(items), candidates)),
        **{f"Jet_{name}": per(counts, *limits) for name, limits in directions.items()},
        **{f"GenJet_{name}": per(counts, *limits) for name, limits in directions.items()},
        **{f"PFCand_{name}": per(candidates, *limits) for name, limits in directions.items()},
    }


def _bundle(path: Path, *, model: str) -> Path:
    """Save an untrained model.

    One of `cluster_response`, `jet_response`, `ak4_response`, `tagger` and `bayesian_tagger`.
    """
    import numpy as np
    import torch

    from hepcalib import bundles
    from hepcalib.batch import Batch
    from hepcalib.features import Inputs
    from hepcalib.models import MLP, PFN, Bayesian, BernoulliHead, MixtureHead, Model
    from hepcalib.ragged import Ragged

    torch.manual_seed(3)
    random = np.random.default_rng(4)
    head = MixtureHead(components=2, scale=0.1)
    found: Model
    if model == "cluster_response":
        inputs = Inputs(features=["cluster.energy", "cluster.rapidity", "cluster.mu"])
        columns = [
            random.lognormal(1, 1, 500),
            random.uniform(-2, 2, 500),
            random.uniform(5, 80, 500),
        ]
        inputs.fit(Batch(torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)))
        found = Bayesian(MLP(features=3, hidden=(8,), head=head), draws=2)
    elif model == "ak4_response":  # jets without constituents
        inputs = Inputs(features=["jet.log_pt", "jet.eta"])
        inputs.fit(Batch(torch.tensor(random.uniform(0, 2, (500, 2)), dtype=torch.float32)))
        found = Bayesian(MLP(features=2, hidden=(8,), head=head), draws=2)
    else:
        inputs = Inputs(features=["jet.eta"], constituents=["constituent.log_pt"])
        items = torch.tensor(random.uniform(0, 2, (500, 1)), dtype=torch.float32)
        inputs.fit(Batch(items - 1, Ragged(items, torch.arange(501))))
        sizes: dict[str, Any] = {"features": 1, "constituents": 1, "phi": (4,), "f": (4,)}
        if model == "tagger":
            found = PFN(**sizes, head=BernoulliHead())
        elif model == "bayesian_tagger":
            plain = PFN(**sizes, head=BernoulliHead())
            found = Bayesian(plain, draws=4, initial_log_variance=-3.0)
        else:
            found = Bayesian(PFN(**sizes, head=head), draws=2)
    bundles.save(
        path,
        found,
        inputs,
        kind="tagger" if model.endswith("tagger") else "response",
        object="cluster" if model == "cluster_response" else "jet",
        name=model,
    )
    return path
