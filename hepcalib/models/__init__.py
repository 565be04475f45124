"""Models and heads: one architecture per file, and the wrappers that make any of them uncertain."""

from __future__ import annotations

from hepcalib.models.bayesian import Bayesian
from hepcalib.models.boosted_trees import BoostedTrees
from hepcalib.models.conformal import Conformal
from hepcalib.models.dropout import Dropout
from hepcalib.models.efn import EFN
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.evidential import Evidential, EvidentialHead
from hepcalib.models.flow_likelihood import FlowLikelihood
from hepcalib.models.gaussian_ansatz import GaussianAnsatz
from hepcalib.models.gn2 import GN2
from hepcalib.models.heads import (
    BernoulliHead,
    CapsuleHead,
    Head,
    LogNormalHead,
    LogNormalMixtureHead,
    MixtureHead,
    NormalHead,
    PointHead,
)
from hepcalib.models.inversion import GeneralisedInversion, InversionHead
from hepcalib.models.jet_images import JetImages
from hepcalib.models.laplace import Laplace
from hepcalib.models.lorentz_net import LorentzNet
from hepcalib.models.mlp import MLP
from hepcalib.models.model import Labelled, Model
from hepcalib.models.particle_net import ParticleNet
from hepcalib.models.particle_net_lite import ParticleNetLite
from hepcalib.models.particle_transformer import ParticleTransformer
from hepcalib.models.pfn import PFN
from hepcalib.models.recurrent import Recurrent
from hepcalib.models.registry import build, describe
from hepcalib.models.repulsion import RepulsiveEnsemble

__all__ = [
    "EFN",
    "GN2",
    "MLP",
    "PFN",
    "Bayesian",
    "BernoulliHead",
    "BoostedTrees",
    "CapsuleHead",
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
    "JetImages",
    "Labelled",
    "Laplace",
    "LogNormalHead",
    "LogNormalMixtureHead",
    "LorentzNet",
    "MixtureHead",
    "Model",
    "NormalHead",
    "ParticleNet",
    "ParticleNetLite",
    "ParticleTransformer",
    "PointHead",
    "Recurrent",
    "RepulsiveEnsemble",
    "build",
    "describe",
]
