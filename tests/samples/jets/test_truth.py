from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib.samples.jets.particles import FourVectors
from hepcalib.samples.jets.truth import OTHER, QCD, TOP, W_BOSON, flavours, labels


def jet(eta: float, phi: float, row: int = 0) -> FourVectors:
    pt = 300.0
    values = (pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta))
    return FourVectors(np.array([row]), *(np.array([x]) for x in values))


def boson(*directions: tuple[float, float]) -> np.ndarray[Any, Any]:
    quarks = np.full((3, 2), np.nan)
    quarks[: len(directions)] = directions
    return quarks


FAR = boson((-2.0, 1.0), (-2.0, 1.2), (-2.0, 0.9))


@pytest.mark.parametrize(
    ("quarks", "expected"),
    [
        (boson((0.1, 3.1), (-0.2, -3.0)), W_BOSON),  # the azimuth wraps
        (boson((0.1, 3.1), (1.2, 3.1)), OTHER),
        (boson((0.1, 3.1), (-0.2, -3.0), (0.3, 3.0)), TOP),
        (boson((0.1, 3.1), (-0.2, -3.0), (1.3, 3.0)), W_BOSON),
        (boson((0.1, 3.1), (1.2, -3.0), (0.3, 3.0)), OTHER),
    ],
)
def test_label_of_one_jet(quarks: np.ndarray[Any, Any], expected: int) -> None:
    one, two = np.stack([[quarks]]), np.stack([[FAR, quarks]])
    assert labels(jet(0.0, np.pi), one, radius=0.8).tolist() == [expected]
    assert labels(jet(0.0, np.pi), two, radius=0.8).tolist() == [expected]


def test_other_events_do_not_matter() -> None:
    quarks = np.stack([[boson((0.0, 0.0), (0.1, 0.1))], [FAR]])
    assert labels(jet(0.0, 0.0, row=1), quarks, radius=0.8).tolist() == [OTHER]


def test_without_bosons_every_jet_is_qcd() -> None:
    assert labels(jet(0.0, 0.0), np.zeros((1, 0, 3, 2)), radius=0.8).tolist() == [QCD]


def momenta(*directions: tuple[int, float, float, float]) -> FourVectors:
    """Massless momenta from row, pt, eta and phi."""
    row, pt, eta, phi = (np.array(column) for column in zip(*directions, strict=True))
    values = (pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta))
    return FourVectors(row.astype(np.int64), *values)


@pytest.mark.parametrize(
    ("pdg_id", "expected"), [(1, 1), (-2, 1), (3, 1), (-4, 4), (5, 5), (-5, 5), (21, 21)]
)
def test_flavour_of_one_parton(pdg_id: int, expected: int) -> None:
    parton = momenta((0, 100.0, 0.3, -3.1))  # the azimuth wraps
    found = flavours(jet(0.0, 3.1), parton, np.array([pdg_id]), label=np.array([0]), radius=0.8)
    assert found.tolist() == [expected]
    far = flavours(jet(1.2, 3.1), parton, np.array([pdg_id]), label=np.array([0]), radius=0.8)
    assert far.tolist() == [0]


def test_the_hardest_parton_of_the_same_event_decides() -> None:
    jets = momenta((0, 300.0, 0.0, 0.0), (2, 300.0, 0.0, 0.0), (2, 200.0, 2.0, 0.0))
    partons = momenta(
        (0, 50.0, 0.0, 0.0), (0, 90.0, 0.5, 0.0), (1, 900.0, 0.0, 0.0), (2, 70.0, 2.1, 0.1)
    )
    codes, label = np.array([21, 4, 5, 1]), np.zeros(3)
    assert flavours(jets, partons, codes, label=label, radius=0.8).tolist() == [4, 0, 1]
    assert flavours(jets, partons, codes, label=label, radius=0.4).tolist() == [21, 0, 1]


def test_a_whole_w_or_top_comes_before_its_quarks() -> None:
    jets = momenta(*[(0, 300.0, 0.0, 0.0)] * 4)
    label = np.array([OTHER, QCD, W_BOSON, TOP])
    quark = momenta((0, 200.0, 0.1, 0.0))
    found = flavours(jets, quark, np.array([5]), label=label, radius=0.8)
    assert found.tolist() == [5, 5, 24, 6]


def test_no_jets_and_no_partons() -> None:
    none = jet(0.0, 0.0).select(np.array([False]))
    empty = np.empty(0, np.int64)
    assert flavours(none, none, empty, label=empty, radius=0.8).shape == (0,)
    assert flavours(jet(0.0, 0.0), none, empty, label=np.zeros(1), radius=0.8).tolist() == [0]
