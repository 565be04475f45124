from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hepcalib.samples.jets.grooming import soft_drop_mass, trimmed_mass
from hepcalib.samples.jets.particles import Candidates, FourVectors

Vector = np.ndarray[Any, Any]


@dataclass
class Node:
    """A (sub)jet and the two that it was merged from."""

    vector: Vector
    parents: tuple[Node, Node] | None = None

    @property
    def pt(self) -> float:
        return float(np.hypot(self.vector[0], self.vector[1]))


def mass(vector: Vector) -> float:
    return float(np.sqrt(max(vector[3] ** 2 - np.sum(vector[:3] ** 2), 0.0)))


def separation(a: Node, b: Node) -> float:
    rapidity = np.arctanh(a.vector[2] / a.vector[3]) - np.arctanh(b.vector[2] / b.vector[3])
    phi = np.arctan2(a.vector[1], a.vector[0]) - np.arctan2(b.vector[1], b.vector[0])
    return float(np.hypot(rapidity, (phi + np.pi) % (2 * np.pi) - np.pi))


def slow_clusters(constituents: FourVectors, *, power: int, radius: float) -> list[Node]:
    """Merge by the definition: power 0 is Cambridge/Aachen, 2 is kt."""
    nodes = [Node(np.array(vector)) for vector in zip(*constituents[1:], strict=True)]
    jets = []
    while nodes:
        steps = [(node.pt**power, i, i) for i, node in enumerate(nodes)]
        for i, a in enumerate(nodes):
            for j, b in enumerate(nodes[:i]):
                smaller = min(a.pt**power, b.pt**power)
                steps.append((smaller * (separation(a, b) / radius) ** 2, i, j))
        _, i, j = min(steps)
        if i == j:
            jets.append(nodes.pop(i))
        else:
            a, b = nodes.pop(i), nodes.pop(j)
            nodes.append(Node(a.vector + b.vector, (a, b)))
    return jets


def slow_soft_drop(constituents: FourVectors, cut: float) -> float:
    (node,) = slow_clusters(constituents, power=0, radius=100.0)
    while node.parents is not None:
        hard, soft = sorted(node.parents, key=lambda x: -x.pt)
        if soft.pt / (soft.pt + hard.pt) > cut:
            return mass(node.vector)
        node = hard
    return mass(node.vector)


def slow_trimming(constituents: FourVectors, fraction: float) -> float:
    whole = np.sum(np.array(constituents[1:]), axis=1)
    subjets = slow_clusters(constituents, power=2, radius=0.2)
    kept = [x.vector for x in subjets if x.pt >= fraction * np.hypot(whole[0], whole[1])]
    return mass(np.sum(kept, axis=0))


@pytest.fixture(scope="module")
def jets() -> tuple[FourVectors, Vector]:
    """Jets of one to three prongs with soft particles around; one of them has one constituent."""
    rng = np.random.default_rng(5)
    rows, pt, eta, phi = [], [], [], []
    counts = [1, 2, 12, 20, 25, 30]
    for jet, count in enumerate(counts):
        prong = rng.uniform(-0.5, 0.5, (3, 2))[rng.integers(1 + jet % 3, size=count)]
        position = prong + rng.normal(0, 0.15, (count, 2))
        rows += [jet] * count
        pt += rng.exponential(20.0, count).tolist()
        eta += position[:, 0].tolist()
        phi += (3.1 + position[:, 1]).tolist()
    zero = np.zeros(len(rows))
    candidates = Candidates(
        row=np.array(rows),
        pt=np.array(pt),
        eta=np.array(eta),
        phi=np.array(phi),
        mass=zero + 0.13957,
        pdg_id=zero,
    )
    return candidates.four_vectors(), np.array(counts)


def test_soft_drop_is_that_of_a_slow_loop(jets: tuple[FourVectors, Vector]) -> None:
    momenta, counts = jets
    for cut in (0.1, 0.3):
        expected = [slow_soft_drop(momenta.select(momenta.row == j), cut) for j in range(6)]
        found = soft_drop_mass(momenta, counts, radius=0.8, symmetry_cut=cut)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)
    assert not np.allclose(found, soft_drop_mass(momenta, counts, radius=0.8), rtol=1e-3)


def test_trimming_is_that_of_a_slow_loop(jets: tuple[FourVectors, Vector]) -> None:
    momenta, counts = jets
    expected = [slow_trimming(momenta.select(momenta.row == j), 0.05) for j in range(6)]
    found = trimmed_mass(momenta, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)
    assert not np.allclose(found, trimmed_mass(momenta, counts, fraction=0.2), rtol=1e-3)


def test_no_jets() -> None:
    nothing = FourVectors(*(np.zeros(0) for _ in range(5)))
    counts = np.zeros(0, np.int64)
    assert soft_drop_mass(nothing, counts, radius=0.8).shape == (0,)
    assert trimmed_mass(nothing, counts).shape == (0,)


def test_two_equal_prongs_keep_their_mass() -> None:
    pt, angle = 200.0, 0.4
    pair = Candidates(
        np.array([0, 0, 0]),
        np.array([pt, pt, 2.0]),
        np.zeros(3),
        np.array([0.0, angle, -0.4]),
        np.zeros(3),
        np.zeros(3),
    ).four_vectors()
    expected = np.sqrt(2 * pt**2 * (1 - np.cos(angle)))
    counts = np.array([3])
    assert soft_drop_mass(pair, counts, radius=0.8) == pytest.approx(expected, rel=1e-6)
    assert trimmed_mass(pair, counts) == pytest.approx(expected, rel=1e-6)
