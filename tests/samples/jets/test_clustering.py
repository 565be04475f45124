from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib.samples.jets.clustering import areas, by_pt, cluster, density, match
from hepcalib.samples.jets.particles import Candidates, FourVectors

Columns = np.ndarray[Any, Any]


def candidates(row: Any, pt: Any, eta: Any, phi: Any) -> Candidates:
    pt = np.asarray(pt, float)
    return Candidates(
        np.asarray(row, int), pt, np.asarray(eta, float), np.asarray(phi, float), 0 * pt, 0 * pt
    )


def momenta(row: Any, pt: Any, eta: Any, phi: Any) -> FourVectors:
    return candidates(row, pt, eta, phi).four_vectors()


def random_events(counts: list[int], seed: int) -> FourVectors:
    rng = np.random.default_rng(seed)
    n = sum(counts)
    row = np.repeat(np.arange(len(counts)), counts)
    return momenta(row, rng.exponential(20, n), rng.normal(0, 1, n), rng.uniform(-np.pi, np.pi, n))


def slow_anti_kt(event: FourVectors, *, radius: float) -> list[tuple[float, set[int]]]:
    """Return (pt, constituents) of the jets, by the definition, one merger at a time."""
    vectors = {i: np.array([x[i] for x in event[1:]]) for i in range(len(event.px))}
    members = {i: {i} for i in vectors}
    jets = []
    while vectors:
        best: tuple[float, int, int] = (np.inf, -1, -1)
        for i, a in vectors.items():
            pt = np.hypot(a[0], a[1])
            best = min(best, (pt**-2, i, i))
            for j, b in vectors.items():
                if j <= i:
                    continue
                rapidity = np.arctanh(a[2] / a[3]) - np.arctanh(b[2] / b[3])
                phi = np.arctan2(a[1], a[0]) - np.arctan2(b[1], b[0])
                phi = (phi + np.pi) % (2 * np.pi) - np.pi
                smaller = min(pt**-2, float(np.hypot(b[0], b[1])) ** -2)
                best = min(best, (smaller * (rapidity**2 + phi**2) / radius**2, i, j))
        _, i, j = best
        if i == j:
            vector = vectors.pop(i)
            jets.append((float(np.hypot(vector[0], vector[1])), members.pop(i)))
        else:
            vectors[i] = vectors[i] + vectors.pop(j)
            members[i] |= members.pop(j)
    return sorted(jets, reverse=True, key=lambda jet: jet[0])


def test_jets_and_links_are_those_of_a_slow_loop() -> None:
    counts = [25, 0, 1, 30]
    events = random_events(counts, seed=8)
    jets = cluster(events, rows=4, radius=0.8, min_pt=2.0)
    starts = np.cumsum(counts) - counts
    groups = np.split(jets.constituents, np.cumsum(jets.counts)[:-1])
    assert len(np.unique(jets.momenta.row)) == 3
    for row in range(4):
        expected = slow_anti_kt(events.select(events.row == row), radius=0.8)
        expected = [jet for jet in expected if jet[0] > 2.0]
        found = np.flatnonzero(jets.momenta.row == row)
        assert len(found) == len(expected)
        for jet, (pt, constituents) in zip(found, expected, strict=True):
            assert jets.momenta.pt[jet] == pytest.approx(pt, rel=1e-10)
            assert set(groups[jet] - starts[row]) == constituents


def test_no_particles_give_no_jets() -> None:
    jets = cluster(random_events([0, 0], seed=1), rows=2, radius=0.8, min_pt=1.0)
    assert len(jets.counts) == len(jets.constituents) == len(jets.momenta.px) == 0


def test_selected_jets_keep_their_constituents() -> None:
    events = random_events([40, 40], seed=3)
    jets = cluster(events, rows=2, radius=0.8, min_pt=10.0)
    rng = np.random.default_rng(0)
    pt = rng.exponential(size=80)
    ordered = by_pt(jets, candidates(events.row, pt, pt, pt))
    mask = np.arange(len(jets.counts)) % 2 == 1
    kept = ordered.select(mask)
    old = np.split(jets.constituents, np.cumsum(jets.counts)[:-1])
    new = np.split(kept.constituents, np.cumsum(kept.counts)[:-1])
    for before, after in zip([x for x, m in zip(old, mask, strict=True) if m], new, strict=True):
        assert set(before) == set(after)
        assert np.all(np.diff(pt[after]) <= 0)


def test_match_is_mutual_and_unique() -> None:
    jets = momenta([0, 0, 0, 2, 2], [9, 8, 7, 9, 8], [0, 0.2, 1.5, 0, 2], [3.1, 3.1, 0, 0, 0])
    gen = momenta([0, 0, 1, 2], [9, 8, 7, 6], [0.05, 2.0, 0.0, 2.1], [-3.1, 0.0, 0.0, 0.2])
    # Jets 0 and 1 both want gen jet 0, across the azimuth's cut; jet 2 is too far; jet 4 has one.
    assert match(jets, gen, rows=3, distance=0.4).tolist() == [0, -1, -1, -1, 0]
    assert match(jets, gen, rows=3, distance=0.8).tolist() == [0, -1, 1, -1, 0]
    none = momenta([], [], [], [])
    assert match(jets, none, rows=3, distance=0.4).tolist() == [-1] * 5
    assert match(none, gen, rows=3, distance=0.4).tolist() == []


def test_density_is_that_of_a_uniform_plane_and_ignores_jets() -> None:
    grid = np.meshgrid(np.linspace(-3, 3, 600), np.linspace(-np.pi, np.pi, 629)[:-1])
    eta, phi = (x.ravel() for x in grid)
    each = 7.0 * 6 * 2 * np.pi / len(eta)
    row = np.repeat([0, 1, 1], [len(eta), len(eta), 1])  # the second event has a jet on top
    pt = np.where(np.arange(len(row)) == len(row) - 1, 500.0, each)
    eta, phi = (np.concatenate([x, x, [0.0]]) for x in (eta, phi))
    rho = density(candidates(row, pt, eta, phi), rows=3)
    # A cell of 0.556 by 0.571 holds 55 by 57 points, or one row more or less.
    assert rho[:2] == pytest.approx(7.0, rel=1 / 55)
    assert rho[2] == 0.0
    mean = pt[(row == 1) & (np.abs(eta) < 2.5)].sum() / (10 * np.pi)
    assert mean > 1.5 * 7.0  # the mean would not ignore the jet


def test_areas_of_two_jets_share_the_lens() -> None:
    radius, distance = 0.8, 1.0
    full = np.pi * radius**2
    lens = 2 * radius**2 * np.arccos(distance / 2 / radius)
    lens -= distance / 2 * np.sqrt(4 * radius**2 - distance**2)
    row = [0, 0, 1, 1, 2]
    jets = momenta(row, [200, 200, 2000, 2, 50], [0, 0, 0, 0, 0], [0, distance, 3, 4.0, 0])
    area = areas(jets, jets, rows=3, radius=radius)
    # Two of the 200 points in a disc may be on the wrong side, and half a one is rounding.
    points = 2.5 * full / 200
    assert area[:2] == pytest.approx(full - lens / 2, abs=points)
    assert area[2] == pytest.approx(full, abs=2 * full / 200)
    assert area[3] == pytest.approx(full - lens, abs=points)
    assert area[4] == pytest.approx(full, rel=1e-9)
