"""Models and heads: one architecture per file, and the wrappers that make any of them uncertain."""

from __future__ import annotations

from hepcalib.models.bayesian import Bayesian
from hepcalib.models.heads import BernoulliHead, Head, MixtureHead, NormalHead
from hepcalib.models.mlp import MLP
from hepcalib.models.model import Model
from hepcalib.models.pfn import PFN
from hepcalib.models.registry import build, describe

__all__ = [
    "MLP",
    "PFN",
    "Bayesian",
    "BernoulliHead",
    "Head",
    "MixtureHead",
    "Model",
    "NormalHead",
    "build",
    "describe",
]
