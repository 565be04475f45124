"""Simulated input with known truth: topo-clusters with an exactly known response density."""

from __future__ import annotations

from hepcalib.samples import cluster_response, response_density, topoclusters

__all__ = ["cluster_response", "response_density", "topoclusters"]
