"""CMS NanoAODv15: AK8 jets with linked particle-flow candidates, and AK4 jets without."""

from __future__ import annotations

from hepcalib.ntuples.layout import Candidates, Column, Factor, Gen, Layout
from hepcalib.ntuples.schema import LayoutSchema

__all__ = ["NANOAOD", "NANOAOD_AK4", "NanoAODAK4Schema", "NanoAODAK8Schema"]

_EVENT = {
    "run": Column("run"),
    "lumi": Column("luminosityBlock"),
    "event": Column("event"),
    "mu": Column("Pileup_nTrueInt", required=False),
    "n_pv": Column("PV_npvs"),
    "rho": Column("Rho_fixedGridRhoFastjetAll", "GeV"),
    "weight": Column("genWeight", required=False),
}

_HADRONS = ((4, 4), (5, 5))  # of the b or c hadrons in the jet; light jets are not told apart
_QUARKS = {1: 1, 2: 1, 3: 1, 4: 4, 5: 5}
_PARTONS = ((21, 21), *((sign * quark, _QUARKS[quark]) for quark in _QUARKS for sign in (1, -1)))

NANOAOD = Layout(
    name="nanoaod",
    tree="Events",
    object="jet",
    jets="FatJet",
    gen=Gen("GenJetAK8", link="FatJet_genJetAK8Idx", beyond="unmatched", required=False),
    candidates=Candidates(
        "PFCand",
        links="FatJetPFCand",
        jet="FatJetPFCand_jetIdx",
        candidate="FatJetPFCand_pfCandIdx",
    ),
    columns={
        **_EVENT,
        "pt": Column("FatJet_pt", "GeV", factors=(Factor("FatJet_rawFactor", complement=True),)),
        "eta": Column("FatJet_eta"),
        "phi": Column("FatJet_phi", "rad"),
        "mass": Column(
            "FatJet_mass", "GeV", factors=(Factor("FatJet_rawFactor", complement=True),)
        ),
        "area": Column("FatJet_area", required=False),
        "pt_published": Column("FatJet_pt", "GeV"),
        "softdrop_mass": Column("FatJet_msoftdrop", "GeV", required=False),
        "flavour": Column("FatJet_hadronFlavour", required=False, codes=_HADRONS),
        "gen_pt": Column("GenJetAK8_pt", "GeV", required=False),
        "gen_eta": Column("GenJetAK8_eta", required=False),
        "gen_phi": Column("GenJetAK8_phi", "rad", required=False),
        "gen_mass": Column("GenJetAK8_mass", "GeV", required=False),
        "constituents.pt": Column("PFCand_pt", "GeV"),
        "constituents.eta": Column("PFCand_eta"),
        "constituents.phi": Column("PFCand_phi", "rad"),
        "constituents.mass": Column("PFCand_mass", "GeV"),
        "constituents.pdg_id": Column("PFCand_pdgId"),
    },
)

NANOAOD_AK4 = Layout(
    name="nanoaod_ak4",
    tree="Events",
    object="jet",
    jets="Jet",
    gen=Gen("GenJet", link="Jet_genJetIdx", beyond="unmatched", required=False),
    columns={
        **_EVENT,
        "pt": Column("Jet_pt", "GeV", factors=(Factor("Jet_rawFactor", complement=True),)),
        "eta": Column("Jet_eta"),
        "phi": Column("Jet_phi", "rad"),
        "mass": Column("Jet_mass", "GeV", factors=(Factor("Jet_rawFactor", complement=True),)),
        "area": Column("Jet_area", required=False),
        "pt_published": Column("Jet_pt", "GeV"),
        "flavour": Column("Jet_partonFlavour", required=False, codes=_PARTONS),
        "gen_pt": Column("GenJet_pt", "GeV", required=False),
        "gen_eta": Column("GenJet_eta", required=False),
        "gen_phi": Column("GenJet_phi", "rad", required=False),
        "gen_mass": Column("GenJet_mass", "GeV", required=False),
    },
)


class NanoAODAK8Schema(LayoutSchema):
    """coffea schema of NanoAODv15 for AK8 jets and their candidates."""

    layout = NANOAOD


class NanoAODAK4Schema(LayoutSchema):
    """coffea schema of NanoAODv15 for AK4 jets."""

    layout = NANOAOD_AK4
