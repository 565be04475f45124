from __future__ import annotations

from typing import TYPE_CHECKING

import awkward as ak
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def _jets(rows: int = 400, *, seed: int = 1) -> ak.Array:
    """Random jets whose momenta are the sums of those of their constituents; some have none."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, rows)
    items = int(counts.sum())
    row = np.repeat(np.arange(rows), counts)
    pt = rng.lognormal(2.0, 1.0, items)
    eta = rng.uniform(-1.5, 1.5, rows)[row] + rng.normal(0.0, 0.2, items)
    phi = rng.uniform(-3.1, 3.1, rows)[row] + rng.normal(0.0, 0.2, items)
    phi = np.mod(phi + np.pi, 2.0 * np.pi) - np.pi
    mass = np.full(items, 0.14)
    parts = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    energy = np.sqrt((parts**2).sum(axis=0) + mass**2)
    px, py, pz, e = (np.bincount(row, weights=x, minlength=rows) for x in (*parts, energy))
    whole = np.hypot(px, py)
    empty = counts == 0
    members = {"pt": pt, "eta": eta, "phi": phi, "mass": mass}
    members["pdg_id"] = rng.choice([211, 22, 130], items)
    return ak.zip(
        {
            "run": np.ones(rows, np.int64),
            "lumi": np.ones(rows, np.int64),
            "event": np.arange(rows) // 2,
            "index": np.arange(rows) % 2,
            "pt": np.where(empty, 50.0, whole),
            "eta": np.where(empty, 0.5, np.arcsinh(pz / np.where(empty, 1.0, whole))),
            "phi": np.arctan2(py, px),
            "mass": np.sqrt(np.clip(e**2 - whole**2 - pz**2, 0.0, None)),
            "constituents": ak.zip({k: ak.unflatten(v, counts) for k, v in members.items()}),
        },
        depth_limit=1,
    )


@pytest.fixture(scope="session")
def jets() -> Callable[..., ak.Array]:
    return _jets
