"""What keeps a tagger from sculpting outside of its loss: before the training, or after it."""

from __future__ import annotations

from hepcalib.decorrelation.conditional_flow import ConditionalFlow
from hepcalib.decorrelation.convolved import ConvolvedSubstructure
from hepcalib.decorrelation.decorrelator import Decorrelator
from hepcalib.decorrelation.designed import DesignedDecorrelation, scaled_mass
from hepcalib.decorrelation.efficiency_map import FixedEfficiencyMap
from hepcalib.decorrelation.planing import effective_share, planing_weights
from hepcalib.decorrelation.quantile_regression import QuantileRegression

__all__ = [
    "METHODS",
    "ConditionalFlow",
    "ConvolvedSubstructure",
    "Decorrelator",
    "DesignedDecorrelation",
    "FixedEfficiencyMap",
    "QuantileRegression",
    "effective_share",
    "planing_weights",
    "scaled_mass",
]

METHODS: dict[str, type[Decorrelator]] = {
    "conditional_flow": ConditionalFlow,
    "convolved": ConvolvedSubstructure,
    "designed": DesignedDecorrelation,
    "fixed_efficiency": FixedEfficiencyMap,
    "quantile_regression": QuantileRegression,
}
"""What can act on a score after the training, by the name that a configuration gives it."""
