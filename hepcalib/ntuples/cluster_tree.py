"""ATLAS-like ClusterTree: one entry per topo-cluster (arXiv:2412.04370)."""

from __future__ import annotations

from hepcalib.ntuples.layout import Column, Layout
from hepcalib.ntuples.schema import LayoutSchema

__all__ = ["CLUSTER_TREE", "ClusterTreeSchema"]

CLUSTER_TREE = Layout(
    name="cluster_tree",
    tree="ClusterTree",
    object="cluster",
    columns={
        "run": Column("runNumber"),
        "event": Column("eventNumber"),
        "index": Column("clusterIndex"),
        "energy": Column("clusterE", "GeV"),
        "rapidity": Column("clusterEta"),
        "phi": Column("clusterPhi", "rad"),
        "pt": Column("clusterPt", "GeV"),
        "significance": Column("cluster_SIGNIFICANCE"),
        "time": Column("cluster_time", "ns"),
        "second_time": Column("cluster_SECOND_TIME", "ns^2"),
        "center_lambda": Column("cluster_CENTER_LAMBDA", "mm"),
        "center_mag": Column("cluster_CENTER_MAG", "mm"),
        "eng_frac_em": Column("cluster_ENG_FRAC_EM"),
        "first_eng_dens": Column("cluster_FIRST_ENG_DENS", "GeV/mm^3"),
        "longitudinal": Column("cluster_LONGITUDINAL"),
        "lateral": Column("cluster_LATERAL"),
        "ptd": Column("cluster_PTD"),
        "isolation": Column("cluster_ISOLATION"),
        "n_pv": Column("nPrimVtx"),
        "mu": Column("avgMu"),
        "true_energy": Column("cluster_ENG_CALIB_TOT", "GeV", required=False),
        "energy_published": Column("clusterECalib", "GeV", required=False),
        "had_weight": Column("cluster_HAD_WEIGHT", required=False),
        "em_probability": Column("cluster_EM_PROBABILITY", required=False),
        "oracle_response": Column("cluster_ORACLE_RESPONSE", required=False),
        "weight": Column("weight", required=False),
    },
)


class ClusterTreeSchema(LayoutSchema):
    """coffea schema of a ClusterTree: every branch by its own name."""

    layout = CLUSTER_TREE
