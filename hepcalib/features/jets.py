"""Inputs of jets and of their constituents, the latter relative to the jet.

Kinematics are those of the standard columns: raw jet momenta, constituents with pile-up weights
applied. Angles follow arXiv:1810.05165 (PFN) and arXiv:1902.08570 (ParticleNet); logarithms are
decimal. Offsets are from the mean of the constituents weighted by pt. The x axis of px and py is
the transverse direction of the jet.
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
    turns = np.floor((angle + np.pi) * (0.5 / np.pi))  # several times as fast as np.mod
    return np.maximum(angle - 2 * np.pi * turns, -np.pi)  # not below by rounding


def _length(first: Values, second: Values) -> Values:
    """Root of the sum of squares; five times as fast as np.hypot, whose squares cannot overflow."""
    return np.sqrt(first * first + second * second)


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
    return _length(_delta_eta(table), _delta_phi(table))


def _rapidity(table: Table) -> Values:
    transverse_mass = _length(table[_PT], table[_MASS])
    return np.arcsinh(table[_PT] / transverse_mass * np.sinh(table[_ETA]))


def _centred(table: Table, values: Values) -> Values:
    """Return values relative to their mean, weighted by pt, in the jet."""
    weight = _share(table[_PT], table.per_constituent(table.sum(table[_PT])))
    return values - table.per_constituent(table.sum(weight * values))


def _energy(table: Table) -> Values:
    return _length(table[_PT] * np.cosh(table[_ETA]), table[_MASS])


def _log_energy(table: Table) -> Values:
    return _log10(_energy(table))


def _log_energy_fraction(table: Table) -> Values:
    jet = np.hypot(table["pt"] * np.cosh(table["eta"]), table["mass"])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _log10(_energy(table) / table.per_constituent(jet))


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


def _geometric(
    name: str, unit: str, needs: tuple[str, ...], compute: Callable[[Table], Values]
) -> Feature:
    """Return an input that models compute with as it is."""
    return Feature(name, unit, "constituent", needs, compute, ({"name": "Identity"},))


def _component(name: str, needs: tuple[str, ...], compute: Callable[[Table], Values]) -> Feature:
    """Return a component of the momentum [GeV]; models make masses and angles of them."""
    return _geometric(name, "GeV", needs, compute)._replace(double=True)


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
    Feature(
        "log_energy_fraction",
        "log10",
        "constituent",
        (_PT, _ETA, _MASS, "pt", "eta", "mass"),
        _log_energy_fraction,
    ),
    _geometric(
        "momentum_fraction",
        "",
        (_PT,),
        lambda table: _share(table[_PT], table.per_constituent(table.sum(table[_PT]))),
    ),
    _geometric(
        "rapidity_offset",
        "",
        (_PT, _ETA, _MASS),
        lambda table: _centred(table, _rapidity(table)),
    ),
    _geometric(
        "azimuth_offset",
        "rad",
        (_PT, _PHI, "phi"),
        lambda table: wrapped(_centred(table, _delta_phi(table))),
    ),
    _component("energy", (_PT, _ETA, _MASS), _energy),
    _component("px", (_PT, _PHI, "phi"), lambda table: table[_PT] * np.cos(_delta_phi(table))),
    _component("py", (_PT, _PHI, "phi"), lambda table: table[_PT] * np.sin(_delta_phi(table))),
    _component("pz", (_PT, _ETA), lambda table: table[_PT] * np.sinh(table[_ETA])),
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
