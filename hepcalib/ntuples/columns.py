"""The standard columns: what every ntuple looks like once it is read, in GeV, mm and ns."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STANDARD", "UNITS", "Level", "ObjectKind", "Standard"]

ObjectKind: TypeAlias = Literal["cluster", "jet"]
Level: TypeAlias = Literal["event", "object", "gen", "constituent"]

UNITS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "": 1.0,
        "GeV": 1.0,
        "GeV/mm^3": 1.0,
        "MeV": 1e-3,
        "MeV/mm^3": 1e-3,
        "TeV": 1e3,
        "cm": 10.0,
        "m": 1e3,
        "mm": 1.0,
        "ns": 1.0,
        "ns^2": 1.0,
        "ps": 1e-3,
        "ps^2": 1e-6,
        "rad": 1.0,
    }
)
"""What a number in a file's unit is multiplied with to become GeV, mm, ns and rad."""


class Standard(NamedTuple):
    """One standard column: its unit, how it is stored, and its value where a file has none.

    `level` says per what it has one value: `event` (repeated for every jet), `object` (cluster or
    jet), `gen` (the matched generator-level jet, `default` if there is none) or `constituent`.
    """

    unit: str
    dtype: str = "float32"
    level: Level = "object"
    default: float = math.nan


_CLUSTER: Final = {
    "run": Standard("", "int64", default=0),
    "event": Standard("", "int64", default=0),
    "index": Standard("", "int64", default=0),
    "energy": Standard("GeV"),
    "rapidity": Standard(""),
    "phi": Standard("rad"),
    "pt": Standard("GeV"),
    "significance": Standard(""),
    "time": Standard("ns"),
    "second_time": Standard("ns^2"),
    "center_lambda": Standard("mm"),
    "center_mag": Standard("mm"),
    "eng_frac_em": Standard(""),
    "first_eng_dens": Standard("GeV/mm^3"),
    "longitudinal": Standard(""),
    "lateral": Standard(""),
    "ptd": Standard(""),
    "isolation": Standard(""),
    "n_pv": Standard(""),
    "mu": Standard(""),
    "true_energy": Standard("GeV"),
    "energy_published": Standard("GeV"),
    "charged_published": Standard(""),
    "pdg_id": Standard("", "int64", default=0),
    "had_weight": Standard(""),
    "em_probability": Standard(""),
    "oracle_response": Standard(""),
    "weight": Standard("", "float64", default=1.0),
}

_JET: Final = {
    "run": Standard("", "int64", "event", 0),
    "lumi": Standard("", "int64", "event", 0),
    "event": Standard("", "int64", "event", 0),
    "mu": Standard("", level="event"),
    "n_pv": Standard("", level="event"),
    "rho": Standard("GeV", level="event"),
    "weight": Standard("", "float64", "event", 1.0),
    "index": Standard("", "int64", default=0),
    "pt": Standard("GeV"),
    "eta": Standard(""),
    "phi": Standard("rad"),
    "mass": Standard("GeV"),
    "area": Standard(""),
    "pt_published": Standard("GeV"),
    "softdrop_mass": Standard("GeV"),
    "trimmed_mass": Standard("GeV"),
    "label": Standard("", "int64", default=-1),
    "flavour": Standard("", "int64", default=0),
    "gen_pt": Standard("GeV", level="gen"),
    "gen_eta": Standard("", level="gen"),
    "gen_phi": Standard("rad", level="gen"),
    "gen_mass": Standard("GeV", level="gen"),
    "matched": Standard("", "bool", "gen", 0),
    "constituents.pt": Standard("GeV", level="constituent"),
    "constituents.eta": Standard("", level="constituent"),
    "constituents.phi": Standard("rad", level="constituent"),
    "constituents.mass": Standard("GeV", level="constituent"),
    "constituents.pdg_id": Standard("", "int64", "constituent", 0),
}

STANDARD: Final[Mapping[ObjectKind, Mapping[str, Standard]]] = MappingProxyType(
    {"cluster": MappingProxyType(_CLUSTER), "jet": MappingProxyType(_JET)}
)
"""The standard columns of clusters and of jets; raw scale, candidate weights applied.

`flavour` is the PDG code of what a jet came from: 1 for u, d and s, 4, 5, 21, 24 (a whole W), 6 (a
whole top), and 0 where that is not known.
"""
