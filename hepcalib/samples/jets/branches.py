"""The branches of a jet sample and how blocks of events are joined to them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hepcalib.samples.jets.particles import Array

__all__ = ["BRANCHES", "COLLECTIONS", "counter", "join"]

_F, _I = np.float32, np.int32

_EVENT: Mapping[str, type] = MappingProxyType(
    {
        "run": _I,
        "luminosityBlock": _I,
        "event": np.int64,
        "genWeight": _F,
        "mu": _F,
        "nPV": _I,
        "rho": _F,
    }
)

COLLECTIONS: Mapping[str, Mapping[str, type]] = MappingProxyType(
    {
        "Jet": {
            "pt": _F,
            "eta": _F,
            "phi": _F,
            "mass": _F,
            "msoftdrop": _F,
            "mtrimmed": _F,
            "genJetIdx": _I,
            "label": _I,
            "flavour": _I,
            "area": _F,
        },
        "GenJet": {"pt": _F, "eta": _F, "phi": _F, "mass": _F},
        "PFCand": {"pt": _F, "eta": _F, "phi": _F, "mass": _F, "pdgId": _I},
        "JetPFCand": {"jetIdx": _I, "pfCandIdx": _I},
    }
)

BRANCHES: Mapping[str, type] = MappingProxyType(
    {
        **_EVENT,
        **{
            f"{collection}_{name}": kind
            for collection, members in COLLECTIONS.items()
            for name, kind in members.items()
        },
    }
)


def counter(collection: str) -> str:
    """Return the name of the column that holds a collection's number of objects per event."""
    return f"n{collection}"


def join(blocks: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """Return the branches of consecutive blocks: one number, or one list of objects, per event.

    Args:
        blocks: Flat columns of each block, with the counters of the collections; may be none.
    """
    flat = {name: _concatenated(blocks, name, kind) for name, kind in BRANCHES.items()}
    joined: dict[str, Any] = {name: flat[name] for name in _EVENT}
    for collection, members in COLLECTIONS.items():
        counts = _concatenated(blocks, counter(collection), np.int64)
        for name in members:
            branch = f"{collection}_{name}"
            joined[branch] = ak.unflatten(flat[branch], counts)
    return joined


def _concatenated(blocks: Sequence[Mapping[str, Array]], name: str, kind: type) -> Array:
    return np.concatenate([np.empty(0, kind), *(block[name] for block in blocks)]).astype(kind)
