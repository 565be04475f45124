"""Inputs of jets and of their constituents, the latter relative to the jet.

Kinematics are those of the standard columns: raw jet momenta, constituents with pile-up weights
applied. Angles follow arXiv:1810.05165 (PFN) and arXiv:1902.08570 (ParticleNet); logarithms are
decimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.features import pdg
from hepcalib.features.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hepcalib.features.table import Table

    Values = NDArray[np.float64]

__all__ = ["CONSTITUENT_FEATURES", "JET_FEATURES", "wrapped"]

_MASS_FLOOR = 0.1  # GeV; a jet of one particle has mass 0, or slightly less after rounding
_PT, _ETA, _PHI = "constituents.pt", "constituents.eta", "constituents.phi"
_MASS, _PDG_ID = "constituents.mass", "constituents.pdg_id"


def wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an azimuthal difference [rad] in [-pi, pi)."""
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def _log10(values: Values) -> Values:
    """Logarithm whose -inf and NaN are left for the caller's check of finite features."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(values)


def _share(part: Values, whole: Values) -> Values:
    """Ratio that is 0 for an object without constituents."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _delta_eta(table: Table) -> Values:
    return table[_ETA] - table.per_constituent(table["eta"])


def _delta_phi(table: Table) -> Values:
    return wrapped(table[_PHI] - table.per_constituent(table["phi"]))


def _delta_r(table: Table) -> Values:
    return np.hypot(_delta_eta(table), _delta_phi(table))


def _log_energy(table: Table) -> Values:
    momentum = table[_PT] * np.cosh(table[_ETA])
    return _log10(np.hypot(momentum, table[_MASS]))


def _log_pt_fraction(table: Table) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _log10(table[_PT] / table.per_constituent(table["pt"]))


def _ptd(table: Table) -> Values:
    return _share(np.sqrt(table.sum(table[_PT] ** 2)), table.sum(table[_PT]))


def _width(table: Table) -> Values:
    return _share(table.sum(table[_PT] * _delta_r(table)), table.sum(table[_PT]))


def _charged_fraction(table: Table) -> Values:
    charged = pdg.charge(table[_PDG_ID]) != 0
    return _share(table.sum(table[_PT] * charged), table.sum(table[_PT]))


def _column(name: str, unit: str) -> Feature:
    return Feature(name, unit, "object", (name,), lambda table: table[name])


def _flag(name: str, test: Callable[[Values], NDArray[np.bool_]]) -> Feature:
    return Feature(
        name,
        "",
        "constituent",
        (_PDG_ID,),
        lambda table: test(table[_PDG_ID]).astype(np.float64),
        ({"name": "Identity"},),
    )


JET_FEATURES: tuple[Feature, ...] = (
    Feature("log_pt", "log10 GeV", "object", ("pt",), lambda table: _log10(table["pt"])),
    _column("eta", ""),
    Feature("abs_eta", "", "object", ("eta",), lambda table: np.abs(table["eta"])),
    _column("mu", ""),
    _column("n_pv", ""),
    _column("rho", "GeV"),
    Feature(
        "log_mass",
        "log10 GeV",
        "object",
        ("mass",),
        lambda table: _log10(np.maximum(table["mass"], _MASS_FLOOR)),
    ),
    Feature(
        "multiplicity",
        "",
        "object",
        (_PT,),
        lambda table: np.diff(table.offsets).astype(np.float64),
    ),
    Feature("ptd", "", "object", (_PT,), _ptd),
    Feature("width", "", "object", (_PT, _ETA, _PHI, "eta", "phi"), _width),
    Feature("charged_fraction", "", "object", (_PT, _PDG_ID), _charged_fraction),
)

CONSTITUENT_FEATURES: tuple[Feature, ...] = (
    Feature("delta_eta", "", "constituent", (_ETA, "eta"), _delta_eta),
    Feature("delta_phi", "rad", "constituent", (_PHI, "phi"), _delta_phi),
    Feature("delta_r", "", "constituent", (_ETA, _PHI, "eta", "phi"), _delta_r),
    Feature("log_pt", "log10 GeV", "constituent", (_PT,), lambda table: _log10(table[_PT])),
    Feature("log_energy", "log10 GeV", "constituent", (_PT, _ETA, _MASS), _log_energy),
    Feature("log_pt_fraction", "log10", "constituent", (_PT, "pt"), _log_pt_fraction),
    _flag("is_charged_hadron", pdg.is_charged_hadron),
    _flag("is_neutral_hadron", pdg.is_neutral_hadron),
    _flag("is_photon", pdg.is_photon),
    _flag("is_electron", pdg.is_electron),
    _flag("is_muon", pdg.is_muon),
    Feature(
        "charge",
        "e",
        "constituent",
        (_PDG_ID,),
        lambda table: pdg.charge(table[_PDG_ID]),
        ({"name": "Identity"},),
    ),
)
