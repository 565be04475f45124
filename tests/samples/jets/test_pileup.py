from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import truncnorm

from hepcalib.samples.jets.draws import Draws
from hepcalib.samples.jets.particles import Particles
from hepcalib.samples.jets.pileup import (
    MinimumBias,
    interactions,
    minimum_bias,
    overlay,
    reconstructed_vertices,
)

DRAWS = Draws(seed=11, run=1, block=0)
ROWS = 20_000


@pytest.fixture
def pool() -> MinimumBias:
    """Event i of three holds i + 1 particles of pt i + 1, at eta 1, phi 0; the last is empty."""
    row = np.array([0, 1, 1, 2, 2, 2])
    zero = np.zeros(6)
    particles = Particles(row, row + 1.0, zero + 1.0, zero, zero.astype(int), zero.astype(int))
    return MinimumBias(np.array([0, 1, 3, 6, 6]), particles)


def test_mu_follows_the_truncated_normal() -> None:
    mu, extra = interactions(ROWS, mean=20.0, width=15.0, draws=DRAWS)
    law = truncnorm(-20.0 / 15.0, np.inf, loc=20.0, scale=15.0)
    error = law.std() / np.sqrt(ROWS)
    assert np.min(mu) >= 0.0
    assert abs(np.mean(mu) - law.mean()) < 4 * error
    assert abs(np.mean(mu) - 20.0) > 4 * error  # not the mean without the cut
    assert abs(np.mean(extra - mu)) < 4 * np.sqrt(law.mean() / ROWS)
    # Poisson: the variance is the mean of mu; the fourth moment for a given mu is mu + 3 mu^2.
    fourth = law.mean() + 3 * (law.var() + law.mean() ** 2)
    tolerance = 4 * np.sqrt((fourth - law.mean() ** 2) / ROWS)
    assert np.var(extra - mu) == pytest.approx(law.mean(), abs=tolerance)


def test_one_mu_for_all_events() -> None:
    mu, extra = interactions(10, mean=0.0, width=0.0, draws=DRAWS)
    assert mu.tolist() == [0.0] * 10
    assert extra.tolist() == [0] * 10


def test_found_vertices() -> None:
    mu = np.full(ROWS, 50.0)
    extra = np.full(ROWS, 50)
    found = reconstructed_vertices(mu, extra, draws=DRAWS) - 1
    efficiency = 0.62 - 0.0012 * 50
    error = np.sqrt(50 * efficiency * (1 - efficiency) / ROWS)
    assert abs(np.mean(found) - 50 * efficiency) < 4 * error
    assert abs(np.mean(found) - 50 * 0.62) > 4 * error  # vertices do merge


def test_overlay_takes_whole_pool_events(pool: MinimumBias) -> None:
    extra = np.array([0, 4, 1, 3000])
    particles = overlay(pool, extra, draws=DRAWS)
    chosen = DRAWS("pool events").integers(4, size=extra.sum())
    vertices = np.split(chosen, np.cumsum(extra)[:-1])
    for row, pool_events in enumerate(vertices):
        expected = [i + 1.0 for i in pool_events for _ in range(i + 1) if i < 3]
        assert particles.pt[particles.row == row].tolist() == expected


def test_overlay_turns_and_mirrors(pool: MinimumBias) -> None:
    particles = overlay(pool, np.array([0, 4, 1, 3000]), draws=DRAWS)
    assert np.all(np.diff(particles.row) >= 0)
    assert set(particles.eta) == {1.0, -1.0}
    phi, first = np.unique(particles.phi, return_index=True)
    vertices = len(phi)
    assert abs(vertices - 0.75 * 3005) < 4 * np.sqrt(3005 * 0.75 * 0.25)  # one of four is empty
    assert abs(np.mean(np.exp(1j * phi))) < 4 / np.sqrt(vertices)
    assert abs(np.mean(np.sign(particles.eta[first]) * np.cos(phi))) < 4 * np.sqrt(0.5 / vertices)


def test_overlay_of_the_first_events_is_the_same(pool: MinimumBias) -> None:
    whole = overlay(pool, np.array([2, 5, 3]), draws=DRAWS)
    first = overlay(pool, np.array([2, 5]), draws=DRAWS)
    for a, b in zip(first, whole.select(whole.row < 2), strict=True):
        assert np.array_equal(a, b)
    assert len(overlay(pool, np.array([0, 0]), draws=DRAWS).pt) == 0


def test_a_larger_pool_begins_with_the_smaller() -> None:
    small, large = minimum_bias(30), minimum_bias(120)
    assert len(large.offsets) == 121
    assert np.array_equal(small.offsets, large.offsets[:31])
    assert np.array_equal(small.particles.pt, large.particles.pt[: small.offsets[-1]])
    density = small.particles.pt.sum() / 30 / (6 * 2 * np.pi)
    # GeV per unit area and collision: 1.25 in a pool of 1000, with a deviation of 1.23 each.
    assert abs(density - 1.25) < 3 * 1.23 / np.sqrt(30)
