"""What the last numbers of a network mean: the distribution of the target."""

from __future__ import annotations

from hepcalib.models.heads.bernoulli import BernoulliHead
from hepcalib.models.heads.capsules import CapsuleHead
from hepcalib.models.heads.head import Head
from hepcalib.models.heads.log_normal import LogNormalHead, LogNormalMixtureHead
from hepcalib.models.heads.normal import MixtureHead, NormalHead
from hepcalib.models.heads.point import PointHead

__all__ = [
    "BernoulliHead",
    "CapsuleHead",
    "Head",
    "LogNormalHead",
    "LogNormalMixtureHead",
    "MixtureHead",
    "NormalHead",
    "PointHead",
]
