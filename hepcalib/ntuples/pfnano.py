"""CMS PFNano: AK8 jets whose candidates carry the Puppi weight beside them."""

from __future__ import annotations

from hepcalib.ntuples.layout import Candidates, Column, Factor, Layout
from hepcalib.ntuples.nanoaod import NANOAOD
from hepcalib.ntuples.schema import LayoutSchema

__all__ = ["PFNANO", "PFNanoSchema"]

_PUPPI = (Factor("PFCands_puppiWeight"),)

PFNANO = Layout(
    name="pfnano",
    tree="Events",
    object="jet",
    jets="FatJet",
    gen=NANOAOD.gen,
    candidates=Candidates(
        "PFCands",
        links="FatJetPFCands",
        jet="FatJetPFCands_jetIdx",
        candidate="FatJetPFCands_pFCandsIdx",
    ),
    columns={
        **NANOAOD.columns,
        "rho": Column("fixedGridRhoFastjetAll", "GeV"),
        "constituents.pt": Column("PFCands_pt", "GeV", factors=_PUPPI),
        "constituents.eta": Column("PFCands_eta"),
        "constituents.phi": Column("PFCands_phi", "rad"),
        "constituents.mass": Column("PFCands_mass", "GeV", factors=_PUPPI),
        "constituents.pdg_id": Column("PFCands_pdgId"),
    },
)


class PFNanoSchema(LayoutSchema):
    """coffea schema of PFNano for AK8 jets and their candidates."""

    layout = PFNANO
