from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.features import CATALOGUE
from hepcalib.features.jets import wrapped
from hepcalib.features.table import Table


@pytest.fixture
def two_jets() -> Any:
    """A jet at phi = 3.1 with two constituents across the seam, and an empty one."""
    constituents = [
        [
            {"pt": 3.0, "eta": 1.3, "phi": -3.1, "mass": 0.0, "pdg_id": 22},
            {"pt": 1.0, "eta": 0.7, "phi": 3.0, "mass": 0.13957, "pdg_id": -211},
        ],
        [],
    ]
    return ak.zip(
        {
            "pt": [100.0, 50.0],
            "eta": [1.0, -2.0],
            "phi": [3.1, 0.0],
            "mass": [10.0, 0.0],
            "mu": [40, 41],
            "n_pv": [20, 21],
            "rho": [15.0, 16.0],
            "constituents": ak.Array(constituents),
        },
        depth_limit=1,
    )


def compute(key: str, jets: Any) -> list[float]:
    feature = CATALOGUE[key]
    needed = {name.partition(".")[2] for name in feature.needs} - {""}
    values: list[float] = feature.compute(Table(jets, constituents=needed)).tolist()
    return values


SEAM = 2 * np.pi - 6.2  # from 3.1 to -3.1
PION = np.arctanh(np.sinh(0.7) / np.hypot(np.cosh(0.7), 0.13957))  # its rapidity
JET_ENERGY = np.hypot(100 * np.cosh(1.0), 10)
EXPECTED = {
    "jet.log_pt": [2.0, np.log10(50)],
    "jet.eta": [1.0, -2.0],
    "jet.abs_eta": [1.0, 2.0],
    "jet.mu": [40, 41],
    "jet.n_pv": [20, 21],
    "jet.rho": [15, 16],
    "jet.log_mass": [1.0, -1.0],
    "jet.multiplicity": [2, 0],
    "jet.ptd": [np.sqrt(10) / 4, 0],
    "jet.width": [(3 * np.hypot(0.3, SEAM) + np.hypot(0.3, 0.1)) / 4, 0],
    "jet.charged_fraction": [0.25, 0],
    "constituent.delta_eta": [0.3, -0.3],
    "constituent.delta_phi": [SEAM, -0.1],
    "constituent.delta_r": [np.hypot(0.3, SEAM), np.hypot(0.3, 0.1)],
    "constituent.log_pt": [np.log10(3), 0.0],
    "constituent.log_energy": [
        np.log10(3 * np.cosh(1.3)),
        np.log10(np.hypot(np.cosh(0.7), 0.13957)),
    ],
    "constituent.log_pt_fraction": [np.log10(0.03), -2.0],
    "constituent.log_energy_fraction": [
        np.log10(3 * np.cosh(1.3) / JET_ENERGY),
        np.log10(np.hypot(np.cosh(0.7), 0.13957) / JET_ENERGY),
    ],
    "constituent.momentum_fraction": [0.75, 0.25],
    "constituent.rapidity_offset": [0.25 * (1.3 - PION), 0.75 * (PION - 1.3)],
    "constituent.azimuth_offset": [0.25 * (SEAM + 0.1), -0.75 * (SEAM + 0.1)],
    "constituent.energy": [3 * np.cosh(1.3), np.hypot(np.cosh(0.7), 0.13957)],
    "constituent.px": [3 * np.cos(SEAM), np.cos(0.1)],
    "constituent.py": [3 * np.sin(SEAM), -np.sin(0.1)],
    "constituent.pz": [3 * np.sinh(1.3), np.sinh(0.7)],
    "constituent.is_charged_hadron": [0, 1],
    "constituent.is_neutral_hadron": [0, 0],
    "constituent.is_photon": [1, 0],
    "constituent.is_electron": [0, 0],
    "constituent.is_muon": [0, 0],
    "constituent.charge": [0, -1],
}


def test_every_feature_has_its_closed_form() -> None:
    assert {key for key in CATALOGUE if not key.startswith("cluster.")} == set(EXPECTED)


@pytest.mark.parametrize("key", EXPECTED)
def test_closed_form(key: str, two_jets: Any) -> None:
    # Angles are float32 numbers of about 3, off by 1.2e-7; momenta of 3 GeV are turned by them.
    tolerance = 3 * 1.2e-7 if CATALOGUE[key].unit == "GeV" else 2e-7
    assert compute(key, two_jets) == pytest.approx(EXPECTED[key], abs=tolerance, rel=1e-6)


@pytest.mark.parametrize("key", EXPECTED)
def test_features_of_no_jets_and_of_empty_jets(key: str, two_jets: Any) -> None:
    assert compute(key, two_jets[:0]) == []
    is_constituent = CATALOGUE[key].kind == "constituent"
    assert len(compute(key, two_jets[1:])) == (0 if is_constituent else 1)


@pytest.mark.parametrize("key", [key for key in EXPECTED if key.startswith("constituent.")])
def test_rotation_in_phi_changes_nothing(key: str, two_jets: Any) -> None:
    turned = ak.with_field(two_jets, two_jets["phi"] + 1.0, "phi")
    turned = ak.with_field(
        turned, turned["constituents", "phi"] + 1.0 - 2 * np.pi, ("constituents", "phi")
    )
    assert compute(key, turned) == pytest.approx(compute(key, two_jets), abs=1e-6)


def test_wrapped_range() -> None:
    angle = np.array([0.0, np.pi, -np.pi, 3 * np.pi, 2 * np.pi - 0.1, 100.0])
    result = wrapped(angle)
    assert ((result >= -np.pi) & (result < np.pi)).all()
    assert np.exp(1j * result) == pytest.approx(np.exp(1j * angle))
