from __future__ import annotations

import numpy as np
import pytest

from hepcalib.samples.jets.particles import (
    CHARGED_HADRON,
    ELECTRON,
    MUON,
    NEUTRAL_HADRON,
    PHOTON,
    Candidates,
    charges,
    kinds,
    pairs,
    seen,
    wrap,
)


@pytest.mark.parametrize(
    ("pdg_id", "kind", "charge"),
    [
        (211, CHARGED_HADRON, 1),
        (-321, CHARGED_HADRON, -1),
        (2212, CHARGED_HADRON, 1),
        (3112, CHARGED_HADRON, -1),  # Sigma-
        (-3112, CHARGED_HADRON, 1),
        (3222, CHARGED_HADRON, 1),  # Sigma+
        (3334, CHARGED_HADRON, -1),  # Omega-
        (22, PHOTON, 0),
        (130, NEUTRAL_HADRON, 0),
        (310, NEUTRAL_HADRON, 0),
        (-2112, NEUTRAL_HADRON, 0),
        (3122, NEUTRAL_HADRON, 0),
        (11, ELECTRON, -1),
        (-11, ELECTRON, 1),
        (13, MUON, -1),
    ],
)
def test_kind_and_charge(pdg_id: int, kind: int, charge: int) -> None:
    number = np.array([pdg_id])
    assert kinds(number).tolist() == [kind]
    assert charges(number).tolist() == [charge]


def test_what_is_seen() -> None:
    pt = np.array([0.29, 0.31, 0.2, 0.05, 9.0])
    eta = np.array([0.0, 0.0, 0.0, 0.0, 3.1])
    charge = np.array([1, -1, 0, 0, 0])
    assert seen(pt, eta, charge).tolist() == [False, True, True, False, False]


def test_wrap_keeps_the_direction() -> None:
    phi = np.linspace(-20, 20, 101)
    wrapped = wrap(phi)
    assert np.all((wrapped >= -np.pi) & (wrapped < np.pi))
    np.testing.assert_allclose(np.cos(wrapped), np.cos(phi), atol=1e-12)
    np.testing.assert_allclose(np.sin(wrapped), np.sin(phi), atol=1e-12)


def test_pairs_are_those_of_two_loops() -> None:
    first, second = np.array([0, 0, 2, 3]), np.array([0, 1, 1, 2, 2, 2])
    left, right = pairs(first, second, rows=5)
    expected = [(i, j) for i, x in enumerate(first) for j, y in enumerate(second) if x == y]
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected
    nothing = pairs(first, np.array([], np.int64), rows=5)
    assert [len(x) for x in nothing] == [0, 0]


def test_four_vectors_give_back_the_kinematics() -> None:
    candidates = Candidates(
        row=np.array([0, 1]),
        pt=np.array([30.0, 0.5]),
        eta=np.array([-1.2, 2.9]),
        phi=np.array([3.0, -0.1]),
        mass=np.array([5.0, 0.13957]),
        pdg_id=np.array([22, 211]),
    )
    momenta = candidates.four_vectors()
    np.testing.assert_allclose(momenta.pt, candidates.pt, rtol=1e-12)
    np.testing.assert_allclose(momenta.eta, candidates.eta, rtol=1e-12)
    np.testing.assert_allclose(momenta.phi, candidates.phi, rtol=1e-12)
    np.testing.assert_allclose(momenta.mass, candidates.mass, rtol=1e-8)
