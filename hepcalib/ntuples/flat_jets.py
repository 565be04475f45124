"""The flat layout of the simulated jets: nX/X_* collections, links from jets to candidates."""

from __future__ import annotations

from hepcalib.ntuples.layout import Candidates, Column, Gen, Layout
from hepcalib.ntuples.schema import LayoutSchema

__all__ = ["FLAT_JETS", "FlatJetsSchema"]

FLAT_JETS = Layout(
    name="flat_jets",
    tree="Events",
    object="jet",
    jets="Jet",
    gen=Gen("GenJet", link="Jet_genJetIdx"),
    candidates=Candidates(
        "PFCand", links="JetPFCand", jet="JetPFCand_jetIdx", candidate="JetPFCand_pfCandIdx"
    ),
    columns={
        "run": Column("run"),
        "lumi": Column("luminosityBlock"),
        "event": Column("event"),
        "mu": Column("mu"),
        "n_pv": Column("nPV"),
        "rho": Column("rho", "GeV"),
        "weight": Column("genWeight", required=False),
        "pt": Column("Jet_pt", "GeV"),
        "eta": Column("Jet_eta"),
        "phi": Column("Jet_phi", "rad"),
        "mass": Column("Jet_mass", "GeV"),
        "area": Column("Jet_area", required=False),
        "softdrop_mass": Column("Jet_msoftdrop", "GeV", required=False),
        "trimmed_mass": Column("Jet_mtrimmed", "GeV", required=False),
        "label": Column("Jet_label", required=False),
        "flavour": Column("Jet_flavour", required=False),
        "gen_pt": Column("GenJet_pt", "GeV"),
        "gen_eta": Column("GenJet_eta"),
        "gen_phi": Column("GenJet_phi", "rad"),
        "gen_mass": Column("GenJet_mass", "GeV"),
        "constituents.pt": Column("PFCand_pt", "GeV"),
        "constituents.eta": Column("PFCand_eta"),
        "constituents.phi": Column("PFCand_phi", "rad"),
        "constituents.mass": Column("PFCand_mass", "GeV"),
        "constituents.pdg_id": Column("PFCand_pdgId"),
    },
)


class FlatJetsSchema(LayoutSchema):
    """coffea schema of the simulated jets."""

    layout = FLAT_JETS
