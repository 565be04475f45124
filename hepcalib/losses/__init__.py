"""Likelihoods, losses of point estimates, and the decorrelation penalties."""

from __future__ import annotations

from hepcalib.losses.abcd_closure import abcd_closure
from hepcalib.losses.adversary import Adversary, reversed_gradient
from hepcalib.losses.binned_divergence import binned_divergence
from hepcalib.losses.distance_correlation import distance_correlation
from hepcalib.losses.gaussian_kl import gaussian_kl
from hepcalib.losses.leaky_gaussian_kernel import leaky_gaussian_kernel
from hepcalib.losses.moment_decomposition import moment_decomposition
from hepcalib.losses.nll import nll
from hepcalib.losses.pinball import pinball
from hepcalib.losses.point import Point

__all__ = [
    "PENALTIES",
    "Adversary",
    "Point",
    "abcd_closure",
    "binned_divergence",
    "distance_correlation",
    "gaussian_kl",
    "leaky_gaussian_kernel",
    "moment_decomposition",
    "nll",
    "pinball",
    "reversed_gradient",
]

PENALTIES = (
    "abcd_closure",
    "binned_divergence",
    "distance_correlation",
    "moment_decomposition",
)
