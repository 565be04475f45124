from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from hepcalib.samples.jets.detector import Calorimeter, Detector, reconstruct
from hepcalib.samples.jets.draws import Draws
from hepcalib.samples.jets.particles import Candidates, Particles, charges, kinds

N = 100_000
DRAWS = Draws(seed=2, run=1, block=3)


def centre(divisions: int, *, near: float) -> float:
    """Return the eta of the middle of a cell."""
    size = 2 * np.pi / divisions
    return float((np.floor((near + 3.0) / size) + 0.5) * size - 3.0)


def particles(
    pdg_id: int, pt: float, eta: float, *, number: int = N, phi: float = 0.3
) -> Particles:
    """One particle in each event."""
    number_id = np.full(number, pdg_id)
    ones = np.ones(number)
    return Particles(
        np.arange(number), pt * ones, eta * ones, phi * ones, kinds(number_id), charges(number_id)
    )


NONE = particles(22, 1.0, 0.0, number=0)


def seen(hard: Particles, pile_up: Particles = NONE, **change: Any) -> Candidates:
    rows = int(max([-1, *hard.row, *pile_up.row])) + 1
    mu = np.full(rows, change.pop("mu", 40.0))
    return reconstruct(hard, pile_up, mu=mu, detector=Detector(**change), draws=DRAWS)


def agrees(fraction: float, expected: float) -> bool:
    return abs(fraction - expected) < 4 * float(np.sqrt(expected * (1 - expected) / N))


@pytest.mark.parametrize(("pt", "eta"), [(1.0, 0.2), (50.0, -1.5), (400.0, 2.4)])
def test_track_efficiency_and_resolution(pt: float, eta: float) -> None:
    candidates = seen(particles(211, pt, eta))
    tracks = candidates.select(candidates.pdg_id == 211)
    detector = Detector()
    expected = 0.95 * (1 - 0.08 * (eta / 2.5) ** 2) / (1 + pt / 1000.0)
    assert agrees(len(tracks.pt) / N, expected)
    assert not agrees(len(tracks.pt) / N, 0.95 * (1 - 0.08 * (eta / 2.5) ** 2) - 0.01)
    width = np.hypot(0.01, 1.5e-4 * pt) * (1 + (eta / 2.5) ** 2)
    relative = tracks.pt / pt - 1
    assert abs(np.mean(relative)) < 4 * width / np.sqrt(len(tracks.pt))
    tolerance = 4 / np.sqrt(2 * len(tracks.pt))
    assert np.std(relative) == pytest.approx(width, rel=tolerance)
    assert np.std(relative) != pytest.approx(1.05 * width, rel=tolerance)
    assert detector.track_resolution(np.array(pt), np.array(eta)) == pytest.approx(width)
    assert np.all(tracks.eta == np.float32(eta))


@pytest.mark.parametrize("energy", [5.0, 50.0, 500.0])
def test_photon_energy(energy: float) -> None:
    eta = centre(360, near=1.1)
    photons = seen(particles(22, energy / np.cosh(eta), eta))
    assert np.all(photons.pdg_id == 22)
    assert len(photons.pt) == N
    measured = photons.pt * np.cosh(eta)
    energy *= 1 - 0.2 * np.exp(-(((eta - 1.5) / 0.2) ** 2) / 2)
    width = np.sqrt(0.05**2 * energy + 0.12**2 + (0.007 * energy) ** 2)
    assert abs(np.mean(measured) - energy) < 4 * width / np.sqrt(N)
    assert np.std(measured) == pytest.approx(width, rel=4 / np.sqrt(2 * N))
    assert np.std(measured) != pytest.approx(0.05 * np.sqrt(energy), rel=4 / np.sqrt(2 * N))


def test_the_gap_takes_energy_from_showers_only() -> None:
    detector = Detector()
    for pdg_id, divisions in ((22, 360), (130, 72), (211, 360)):
        ratio = []
        for near in (0.0, 1.5):
            eta = centre(divisions, near=near)
            energy = np.array(50.0 * np.cosh(eta))
            response = 1.0 if pdg_id == 211 else detector.transmission(np.array(eta))
            response *= detector.hadron_response(energy) if pdg_id == 130 else 1.0
            pt = seen(particles(pdg_id, 50.0, eta, number=4000), efficiency=1.5).pt
            assert abs(np.mean(pt) - 50.0 * response) < 4 * np.std(pt) / np.sqrt(len(pt))
            ratio.append(np.mean(pt))
        assert (ratio[1] / ratio[0] > 0.95) == (pdg_id == 211)


@pytest.mark.parametrize(("energy", "pdg_id"), [(20.0, 130), (200.0, 2112)])
def test_neutral_hadron_energy(energy: float, pdg_id: int) -> None:
    eta = centre(72, near=-0.5)
    hadrons = seen(particles(pdg_id, energy / np.cosh(eta), eta))
    assert np.all(hadrons.pdg_id == 130)
    measured = hadrons.pt * np.cosh(eta)
    mean = energy * (1 - 0.4 * energy**-0.18)
    width = np.sqrt(mean + 0.3**2 + (0.05 * mean) ** 2)
    below = (0.8 * np.cosh(eta) - mean) / width  # downward fluctuations are lost
    law = truncnorm(below, np.inf, loc=mean, scale=width)
    lost = N * norm.cdf(below)
    assert abs(N - len(measured) - lost) < 4 * np.sqrt(lost)
    error = law.std() / np.sqrt(N)
    assert abs(np.mean(measured) - law.mean()) < 4 * error
    assert abs(np.mean(measured) - energy) > 20 * error  # the response is not one
    assert np.std(measured) == pytest.approx(law.std(), rel=4 / np.sqrt(2 * N))


def test_response_grows_with_the_energy() -> None:
    response = Detector().hadron_response(np.array([0.2, 1.0, 10.0, 100.0, 1000.0]))
    assert response[0] == response[1] == pytest.approx(0.6)
    assert np.all(np.diff(response[1:]) > 0)
    assert response[-1] < 1.0


def test_pile_up_tracks_are_removed_but_for_the_leak() -> None:
    pile_up = particles(-211, 2.0, 0.0)
    tracks = seen(NONE, pile_up, mu=60.0, efficiency=1.0, efficiency_density=1e9)
    leak = 1 - np.exp(-0.0015 * 60)
    assert np.all(tracks.pdg_id == -211)
    assert agrees(len(tracks.pt) / N, leak)
    assert not agrees(len(tracks.pt) / N, 1 - np.exp(-0.0015 * 50))
    hard = seen(pile_up, mu=60.0, efficiency=1.0, efficiency_density=1e9)
    assert len(hard.pt) == N


def test_particles_without_a_track_reach_a_calorimeter() -> None:
    for pdg_id, expected in ((211, {130}), (11, {22}), (13, set())):
        lost = seen(particles(pdg_id, 30.0, 0.0, number=500), efficiency=0.0)
        assert set(lost.pdg_id.tolist()) == expected
        found = seen(particles(pdg_id, 30.0, 0.0, number=50), efficiency=1.05)
        assert set(found.pdg_id.tolist()) == {pdg_id}
    beyond = seen(particles(211, 30.0, 2.7, number=50))
    assert set(beyond.pdg_id.tolist()) == {130}


def test_a_cell_adds_up_hard_scatter_and_pile_up() -> None:
    exact = Calorimeter(stochastic=0.0, noise=0.0, constant=0.0, threshold=0.0, divisions=360)
    eta = centre(360, near=0.4)
    hard = particles(22, 3.0, eta, number=2, phi=0.3001)
    pile_up = particles(22, 0.5, eta + 0.001, number=2, phi=0.3002)
    cells = seen(hard, pile_up, ecal=exact)
    assert cells.row.tolist() == [0, 1]
    expected = 3.0 + 0.5 * np.cosh(eta + 0.001) / np.cosh(eta)
    np.testing.assert_allclose(cells.pt, expected, rtol=1e-6)
    assert np.all(np.abs(cells.eta - eta) < np.pi / 360)
    apart = seen(hard, pile_up._replace(phi=pile_up.phi + 0.1), ecal=exact)
    assert apart.row.tolist() == [0, 0, 1, 1]


def test_threshold_is_in_transverse_energy() -> None:
    sharp = Calorimeter(stochastic=0.0, noise=0.0, constant=0.0, threshold=0.3, divisions=360)
    for near in (0.0, 2.8):
        eta = centre(360, near=near)
        assert len(seen(particles(22, 0.29, eta, number=3), ecal=sharp).pt) == 0
        assert len(seen(particles(22, 0.31, eta, number=3), ecal=sharp).pt) == 3


def test_the_first_events_do_not_depend_on_the_later() -> None:
    mixed = [particles(x, 8.0, 0.7, number=40) for x in (211, 22, 130)]
    joined = Particles(*map(np.concatenate, zip(*mixed, strict=True)))
    hard = joined.select(np.argsort(joined.row, kind="stable"))
    whole = seen(hard, hard)
    short = seen(hard.select(hard.row < 15), hard.select(hard.row < 15))
    for a, b in zip(short, whole.select(whole.row < 15), strict=True):
        assert np.array_equal(a, b)


def test_no_particles_give_no_candidates() -> None:
    assert len(seen(NONE, NONE).pt) == 0
