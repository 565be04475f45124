"""Small synthetic ntuples in the layouts of clusters and of jets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.ntuples import LAYOUTS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cluster_columns() -> dict[str, Any]:
    """Forty clusters, all branches that the layout requires, each with other values."""
    rng = np.random.default_rng(1)
    layout = LAYOUTS["cluster_tree"]
    columns: dict[str, Any] = {
        branch: rng.uniform(0.5, 2.0, 40).astype(np.float32) for branch in sorted(layout.required())
    }
    columns["runNumber"] = np.full(40, 7, np.int32)
    columns["eventNumber"] = np.arange(40, dtype=np.int64) // 4
    columns["clusterIndex"] = np.arange(40, dtype=np.int32) % 4
    columns["cluster_ENG_CALIB_TOT"] = rng.uniform(0.5, 2.0, 40).astype(np.float32)
    return columns


@pytest.fixture
def jet_columns() -> dict[str, Any]:
    """Four events with 2, 0, 1, 1 jets; the second jet and the last have no constituents."""
    return {
        "run": np.full(4, 1, np.int32),
        "luminosityBlock": np.full(4, 2, np.int32),
        "event": np.array([10, 11, 12, 13], np.int64),
        "genWeight": np.array([1.0, -0.5, 2.0, 0.25]),
        "mu": np.array([40.0, 41.0, 42.0, 43.0], np.float32),
        "nPV": np.array([30, 31, 32, 33], np.int32),
        "rho": np.array([20.0, 21.0, 22.0, 23.0], np.float32),
        **_jagged("Jet", [2, 0, 1, 1], pt=[300, 250, 400, 210], eta=[0.1, 1.0, -2.0, 0.0]),
        **_jagged("Jet", [2, 0, 1, 1], phi=[3.0, -3.0, 0.0, 1.0], mass=[80, 20, 90, 10]),
        **_jagged("Jet", [2, 0, 1, 1], msoftdrop=[79, 15, 80, 5], mtrimmed=[78, 14, 81, 6]),
        "Jet_genJetIdx": ak.Array([[1, -1], [], [0], [-1]]),
        "Jet_label": ak.Array([[1, 0], [], [2], [0]]),
        **_jagged("GenJet", [2, 0, 1, 0], pt=[100, 310, 420], eta=[0.0, 0.11, -2.1]),
        **_jagged("GenJet", [2, 0, 1, 0], phi=[0.5, 3.1, 0.05], mass=[10, 82, 85]),
        **_jagged("PFCand", [4, 1, 2, 0], pt=[100, 200, 5, 1, 9, 150, 250], phi=[0.0] * 7),
        **_jagged("PFCand", [4, 1, 2, 0], eta=[0.1] * 7, mass=[0.14] * 7),
        "PFCand_pdgId": ak.Array([[211, 22, 130, -211], [22], [11, -13], []]),
        "JetPFCand_jetIdx": ak.Array([[0, 0, 0], [], [0, 0], []]),
        "JetPFCand_pfCandIdx": ak.Array([[2, 0, 1], [], [0, 1], []]),
    }


@pytest.fixture
def clusters(tmp_path: Path, cluster_columns: dict[str, Any]) -> Path:
    """A ClusterTree file."""
    path = tmp_path / "clusters.root"
    ntuples.write(path, "ClusterTree", cluster_columns)
    return path


@pytest.fixture
def jets(tmp_path: Path, jet_columns: dict[str, Any]) -> Path:
    """A file in the layout of the simulated jets."""
    path = tmp_path / "jets.root"
    ntuples.write(path, "Events", jet_columns)
    return path


def _jagged(prefix: str, counts: list[int], **members: list[float]) -> dict[str, ak.Array]:
    return {
        f"{prefix}_{name}": ak.unflatten(np.array(values, np.float32), counts)
        for name, values in members.items()
    }
