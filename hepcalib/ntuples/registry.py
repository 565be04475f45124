"""The layouts by name, and the coffea schema of each."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.ntuples.cluster_tree import ClusterTreeSchema
from hepcalib.ntuples.flat_jets import FlatJetsSchema
from hepcalib.ntuples.layout import Layout
from hepcalib.ntuples.nanoaod import NanoAODAK4Schema, NanoAODAK8Schema
from hepcalib.ntuples.pfnano import PFNanoSchema
from hepcalib.ntuples.pion_clusters import PionClustersSchema
from hepcalib.ntuples.schema import LayoutSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LAYOUTS", "SCHEMAS", "find_layout", "schema_of"]

SCHEMAS: Final[Mapping[str, type[LayoutSchema]]] = MappingProxyType(
    {
        schema.layout.name: schema
        for schema in (
            ClusterTreeSchema,
            FlatJetsSchema,
            NanoAODAK4Schema,
            NanoAODAK8Schema,
            PFNanoSchema,
            PionClustersSchema,
        )
    }
)
"""The coffea schema of each layout."""

LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {name: schema.layout for name, schema in SCHEMAS.items()}
)
"""The ntuple layouts by name."""


def find_layout(layout: str | Layout) -> Layout:
    """Return a layout by name, or the layout that is given.

    Raises:
        ConfigError: if there is no layout of this name.
    """
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        msg = f"unknown ntuple layout '{layout}'. {suggestion(layout, LAYOUTS)}"
        raise ConfigError(msg)
    return LAYOUTS[layout]


def schema_of(layout: str | Layout) -> type[LayoutSchema]:
    """Return the coffea schema of a layout; one is made for a layout that is not in `LAYOUTS`."""
    found = find_layout(layout)
    schema = SCHEMAS.get(found.name)
    if schema is not None and schema.layout is found:
        return schema
    return type("Schema", (LayoutSchema,), {"layout": found, "__doc__": LayoutSchema.__doc__})
