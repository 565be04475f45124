"""Particle species from PDG identifiers, vectorised; particle-flow codes of CMS included.

Particle flow writes 211 for any charged hadron, 130 for any neutral one, and 1 and 2 for hadronic
and electromagnetic deposits in the forward calorimeter.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "charge",
    "is_charged_hadron",
    "is_electron",
    "is_muon",
    "is_neutral_hadron",
    "is_photon",
]

_FORWARD_HADRONIC, _FORWARD_ELECTROMAGNETIC = 1, 2
_LEPTONS = (11, 13, 15)
_TABLE_SIZE = 10_000


def charge(pdg_id: NDArray[np.float64]) -> NDArray[np.float64]:
    """Electric charge [e] from the quark content; 0 for neutral and unknown particles."""
    codes = np.abs(pdg_id).astype(np.int64)
    charges = _table()[np.minimum(codes, _TABLE_SIZE - 1)]
    for code in np.unique(codes[codes >= _TABLE_SIZE - 1]):  # excited states: few, and rare
        charges[codes == code] = _charge(int(code))
    return np.asarray(np.sign(pdg_id) * charges)


def is_electron(pdg_id: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Electrons and positrons."""
    return np.asarray(np.abs(pdg_id) == 11)


def is_muon(pdg_id: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Muons of either charge."""
    return np.asarray(np.abs(pdg_id) == 13)


def is_photon(pdg_id: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Photons and forward electromagnetic deposits."""
    return np.asarray((pdg_id == 22) | (pdg_id == _FORWARD_ELECTROMAGNETIC))


def is_charged_hadron(pdg_id: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Charged mesons and baryons."""
    return np.asarray((np.abs(pdg_id) > 100) & (charge(pdg_id) != 0))


def is_neutral_hadron(pdg_id: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Neutral mesons and baryons and forward hadronic deposits."""
    neutral = (np.abs(pdg_id) > 100) & (charge(pdg_id) == 0)
    return np.asarray(neutral | (pdg_id == _FORWARD_HADRONIC))


@functools.cache
def _table() -> NDArray[np.float64]:
    return np.array([_charge(code) for code in range(_TABLE_SIZE)], dtype=np.float64)


def _charge(code: int) -> int:
    """Charge of one particle, not antiparticle: digits 2 to 4 of a hadron are its quarks."""
    if code in _LEPTONS:
        return -1
    if code < 100 or code > 9_999_999:
        return 0
    first, second, third = code // 1000 % 10, code // 100 % 10, code // 10 % 10
    if third == 0:  # K0_S and K0_L
        return 0
    if first == 0:  # meson: heavier quark, lighter antiquark; an anti-down type comes first
        thirds = _thirds(second) - _thirds(third)
        thirds = thirds if second % 2 == 0 else -thirds
    else:
        thirds = _thirds(first) + _thirds(second) + _thirds(third)
    return thirds // 3


def _thirds(quark: int) -> int:
    """Charge of a quark in units of e/3."""
    return 2 if quark % 2 == 0 else -1
