from __future__ import annotations

import numpy as np
import pytest

from hepcalib.features import pdg

CHARGES = {
    11: -1, -11: 1, 13: -1, 22: 0, 12: 0, 211: 1, -211: -1, 111: 0, 130: 0, 310: 0, 321: 1,
    311: 0, 411: 1, 421: 0, 431: 1, 511: 0, 521: 1, -521: -1, 2212: 1, -2212: -1, 2112: 0,
    3112: -1, 3122: 0, 3222: 1, 3312: -1, 3322: 0, 3334: -1, 4122: 1, 5122: 0, 2224: 2, 1: 0,
    2: 0, 0: 0, 10211: 1, 20213: 1, 1000010020: 0,
}  # fmt: skip


@pytest.mark.parametrize("pdg_id", CHARGES)
def test_charge(pdg_id: int) -> None:
    assert pdg.charge(np.array([float(pdg_id)])) == [CHARGES[pdg_id]]


def test_species_are_exclusive_and_particle_flow_codes_complete() -> None:
    ids = np.array([211.0, -211, 321, 2212, 130, 310, 2112, 1, 22, 2, 11, -11, 13, -13])
    tests = (
        pdg.is_charged_hadron,
        pdg.is_neutral_hadron,
        pdg.is_photon,
        pdg.is_electron,
        pdg.is_muon,
    )
    species = np.array([test(ids) for test in tests])
    assert (species.sum(axis=0) == 1).all()
    assert species.argmax(axis=0).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4]


def test_charge_of_no_particles() -> None:
    assert pdg.charge(np.empty(0)).shape == (0,)
