"""Likelihoods, the Kullback-Leibler term of Bayesian layers, and the decorrelation penalties."""

from __future__ import annotations

from hepcalib.losses.distance_correlation import distance_correlation
from hepcalib.losses.gaussian_kl import gaussian_kl
from hepcalib.losses.moment_decomposition import moment_decomposition
from hepcalib.losses.nll import nll

__all__ = ["PENALTIES", "distance_correlation", "gaussian_kl", "moment_decomposition", "nll"]

PENALTIES = ("distance_correlation", "moment_decomposition")
