"""Models and heads: one architecture per file, and the wrappers that make any of them uncertain."""

from __future__ import annotations

from hepcalib.models.bayesian import Bayesian
from hepcalib.models.conformal import Conformal
from hepcalib.models.dropout import Dropout
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.evidential import Evidential, EvidentialHead
from hepcalib.models.flow_likelihood import FlowLikelihood
from hepcalib.models.gaussian_ansatz import GaussianAnsatz
from hepcalib.models.heads import (
    BernoulliHead,
    Head,
    LogNormalHead,
    LogNormalMixtureHead,
    MixtureHead,
    NormalHead,
    PointHead,
)
from hepcalib.models.inversion import GeneralisedInversion, InversionHead
from hepcalib.models.laplace import Laplace
from hepcalib.models.mlp import MLP
from hepcalib.models.model import Labelled, Model
from hepcalib.models.pfn import PFN
from hepcalib.models.registry import build, describe
from hepcalib.models.repulsion import RepulsiveEnsemble

__all__ = [
    "MLP",
    "PFN",
    "Bayesian",
    "BernoulliHead",
    "Conformal",
    "DeepEnsemble",
    "Dropout",
    "Evidential",
    "EvidentialHead",
    "FlowLikelihood",
    "GaussianAnsatz",
    "GeneralisedInversion",
    "Head",
    "InversionHead",
    "Labelled",
    "Laplace",
    "LogNormalHead",
    "LogNormalMixtureHead",
    "MixtureHead",
    "Model",
    "NormalHead",
    "PointHead",
    "RepulsiveEnsemble",
    "build",
    "describe",
]
