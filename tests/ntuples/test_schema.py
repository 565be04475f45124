from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from hepcalib.exceptions import ConfigError
from hepcalib.ntuples import SCHEMAS, objects, open_events

if TYPE_CHECKING:
    from pathlib import Path


def test_collections_are_grouped_by_their_counter(jets: Path, jet_columns: dict[str, Any]) -> None:
    with open_events(jets, "flat_jets") as events:
        assert events.Jet.pt.tolist() == jet_columns["Jet_pt"].tolist()
        assert events.JetPFCand.jetIdx.tolist() == [[0, 0, 0], [], [0, 0], []]
        assert events.mu.tolist() == jet_columns["mu"].tolist()


def test_momenta_are_lorentz_vectors(jets: Path, jet_columns: dict[str, Any]) -> None:
    with open_events(jets, "flat_jets") as events:
        expected = jet_columns["Jet_pt"] * np.sinh(jet_columns["Jet_eta"])
        assert ak.all(ak.isclose(events.Jet.pz, expected))
        assert sorted(events.GenJet.fields) == ["eta", "mass", "phi", "pt"]


def test_every_branch_keeps_its_own_name(jets: Path, jet_columns: dict[str, Any]) -> None:
    with open_events(jets, "flat_jets") as events:
        counters = {"nJet", "nGenJet", "nPFCand", "nJetPFCand"}
        collections = {"Jet", "GenJet", "PFCand", "JetPFCand"}
        assert set(events.fields) == set(jet_columns) | counters | collections
        assert events.Jet_eta.tolist() == events.Jet.eta.tolist()


def test_counters_of_single_branches_are_no_collections(data: Path) -> None:
    offered = ["nFatJet", "nFatJet_pt", "FatJet_pt", "FatJet_eta"]
    path = data / "cms_nanoaodv15_ttbar.root"
    with open_events(path, "nanoaod", branches=offered) as events:
        assert set(events.fields) == {*offered, "FatJet"}
        assert events.FatJet.fields in (["pt", "eta"], ["eta", "pt"])
        assert int(ak.sum(ak.num(events.FatJet))) == 64


def test_clusters_are_flat(clusters: Path, cluster_columns: dict[str, Any]) -> None:
    with open_events(clusters, "cluster_tree") as events:
        assert set(events.fields) == set(cluster_columns)
        assert events.clusterE.tolist() == cluster_columns["clusterE"].tolist()


@pytest.mark.parametrize("mode", ["virtual", "eager"])
def test_schema_works_with_coffea_alone(jets: Path, mode: str) -> None:
    with uproot.open(jets) as file:
        events = NanoEventsFactory.from_root(
            file,
            treepath="Events",
            schemaclass=SCHEMAS["flat_jets"],
            mode=mode,
            metadata={"dataset": "qcd"},
        ).events()
        found = objects(events, layout="flat_jets")
        assert found.pt.tolist() == events.Jet.pt.tolist()
        with pytest.raises(ConfigError, match="no 'layout'"):
            objects(events)


def test_fewer_branches_can_be_offered(jets: Path) -> None:
    with open_events(jets, "flat_jets", branches=["nJet", "Jet_pt"]) as events:
        assert set(events.fields) == {"nJet", "Jet_pt", "Jet"}
        assert objects(events, columns=["pt"]).pt.tolist() == events.Jet.pt.tolist()
