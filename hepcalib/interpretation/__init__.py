"""What a trained model looks at, and how it takes jets that are not as it has learnt them."""

from __future__ import annotations

from hepcalib.interpretation.filters import Filters, efn_filters
from hepcalib.interpretation.importance import Importance, permutation_importance
from hepcalib.interpretation.profiles import (
    AttentionProfile,
    NeighbourDistances,
    attention_profile,
    neighbour_distances,
)
from hepcalib.interpretation.shifts import hardest_scaled, regions_of, regions_scaled

__all__ = [
    "AttentionProfile",
    "Filters",
    "Importance",
    "NeighbourDistances",
    "attention_profile",
    "efn_filters",
    "hardest_scaled",
    "neighbour_distances",
    "permutation_importance",
    "regions_of",
    "regions_scaled",
]
