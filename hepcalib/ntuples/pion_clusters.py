"""CSV of ATLAS topo-clusters of single pions, with the energies of a published network.

The columns of gn4pions (2022): `cluster_ENG_CALIB_TOT` is the deposit in the
calorimeter, `pred_cluster_ENG_CALIB_TOT` what the graph network makes of the cluster, `pred_prob`
its probability of a charged pion. Clusters have no mass, so that rapidity is pseudorapidity.
"""

from __future__ import annotations

from hepcalib.ntuples.layout import Column, Layout
from hepcalib.ntuples.schema import LayoutSchema

__all__ = ["PION_CLUSTERS", "PionClustersSchema"]

PION_CLUSTERS = Layout(
    name="pion_clusters",
    tree="clusters",
    object="cluster",
    format="csv",
    words={"type": {"pi0": 111, "pion": 211}},
    columns={
        "event": Column("event_ind"),
        "index": Column("cluster_ind"),
        "energy": Column("cluster_E", "GeV"),
        "rapidity": Column("cluster_Eta"),
        "phi": Column("cluster_Phi", "rad"),
        "pt": Column("cluster_Pt", "GeV"),
        "true_energy": Column("cluster_ENG_CALIB_TOT", "GeV"),
        "pdg_id": Column("type"),
        "energy_published": Column("pred_cluster_ENG_CALIB_TOT", "GeV", required=False),
        "charged_published": Column("pred_prob", required=False),
    },
)


class PionClustersSchema(LayoutSchema):
    """coffea schema of such a file: every column by its own name."""

    layout = PION_CLUSTERS
