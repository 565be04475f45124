from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib.samples.jets.particles import FourVectors
from hepcalib.samples.jets.truth import OTHER, QCD, TOP, W_BOSON, labels


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
