from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="session")
def clusters() -> Columns:
    """Clusters as a calorimeter has them: dirty rows, outliers and single-cell clusters included.

    The last 1 % of the rows are dirty: EM fractions of +-1000, values at or below zero.
    """
    rng = np.random.default_rng(1)
    n = 20_000
    log_energy = np.clip(rng.exponential(0.7, n) + np.log10(0.3), None, 3.2)
    rapidity = np.clip(rng.normal(0, 1.2, n), -2.5, 2.5)
    depth = np.minimum(10 ** rng.normal(2.45, 0.42, n), 3000)
    mu = np.clip(rng.normal(34.5, 12.0, n), 0, 80)
    seconds = np.where(
        rng.random(n) < 0.12, rng.normal(-9, 1.2, n), rng.normal(0.35 - 0.45 * log_energy, 0.6)
    )
    columns = {
        "energy": 10**log_energy,
        "rapidity": rapidity,
        "significance": 10 ** rng.normal(0.85, 0.48, n),
        "time": rng.normal(0, 2.0, n) + 25 * (rng.random(n) < 0.03) * rng.choice([-1, 1], n),
        "second_time": 10**seconds,
        "center_lambda": depth,
        "center_mag": (1500 + depth) * np.cosh(np.clip(rapidity, -1.5, 1.5)),
        "eng_frac_em": rng.beta(1.6, 1.1, n),
        "first_eng_dens": 10 ** rng.normal(-6.29, 0.65, n),
        "longitudinal": rng.beta(3.5, 1.5, n),
        "lateral": rng.beta(4.2, 1.3, n),
        "ptd": rng.beta(3.9, 7.1, n),
        "isolation": rng.beta(2.0, 1.3, n),
        "n_pv": 1.0 + rng.poisson(0.6 * mu),
        "mu": mu,
    }
    dirty = np.arange(n) >= n - n // 100
    columns["eng_frac_em"][dirty] = rng.choice([-1e3, 1e3], dirty.sum())
    for name in ("energy", "first_eng_dens", "second_time", "significance"):
        columns[name][dirty & (rng.random(n) < 0.5)] *= -1
    return {name: column.astype(np.float32) for name, column in columns.items()}


@pytest.fixture(scope="session")
def jets() -> Any:
    """Jets with constituents around their axis, one of them without any."""
    rng = np.random.default_rng(2)
    counts = rng.poisson(30, 400)
    counts[7] = 0
    items, of = counts.sum(), np.repeat(np.arange(len(counts)), counts)
    phi = rng.uniform(-np.pi, np.pi, len(counts))
    eta = rng.uniform(-2.4, 2.4, len(counts))
    constituents = ak.zip(
        {
            "pt": (0.3 + rng.exponential(5.0, items)).astype(np.float32),
            "eta": (eta[of] + rng.normal(0, 0.2, items)).astype(np.float32),
            "phi": ((phi[of] + rng.normal(0, 0.2, items) + np.pi) % (2 * np.pi) - np.pi).astype(
                np.float32
            ),
            "mass": rng.choice([0.0, 0.13957], items).astype(np.float32),
            "pdg_id": rng.choice([211, -211, 130, 22, 11, -13, 1, 2], items).astype(np.int32),
        }
    )
    return ak.zip(
        {
            "pt": rng.uniform(20, 500, len(counts)).astype(np.float32),
            "eta": eta.astype(np.float32),
            "phi": phi.astype(np.float32),
            "mass": np.where(counts > 0, rng.uniform(2, 90, len(counts)), 0).astype(np.float32),
            "mu": rng.integers(10, 60, len(counts)),
            "n_pv": rng.integers(1, 40, len(counts)),
            "rho": rng.uniform(1, 30, len(counts)).astype(np.float32),
            "constituents": ak.unflatten(constituents, counts),
        },
        depth_limit=1,
    )
