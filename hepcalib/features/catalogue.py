"""All features by their key, "cluster.energy", "jet.log_pt", "constituent.delta_eta"."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.features import clusters, jets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.features.feature import Feature

__all__ = ["CATALOGUE", "feature"]

CATALOGUE: Mapping[str, Feature] = MappingProxyType(
    {
        **{f"cluster.{feature.name}": feature for feature in clusters.FEATURES},
        **{f"cluster.{feature.name}": feature for feature in clusters.MORE_FEATURES},
        **{f"jet.{feature.name}": feature for feature in jets.JET_FEATURES},
        **{f"constituent.{feature.name}": feature for feature in jets.CONSTITUENT_FEATURES},
    }
)


def feature(key: str) -> Feature:
    """Return the feature of a key, or raise a ConfigError with the nearest known keys."""
    if key not in CATALOGUE:
        msg = f"unknown feature '{key}'. {suggestion(key, CATALOGUE)}"
        raise ConfigError(msg)
    return CATALOGUE[key]
