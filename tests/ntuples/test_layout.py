from __future__ import annotations

import pickle

import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.ntuples import LAYOUTS, SCHEMAS, Column, Layout, find_layout, schema_of
from hepcalib.ntuples.columns import STANDARD

NAMES = ["cluster_tree", "flat_jets", "nanoaod", "nanoaod_ak4", "pfnano", "pion_clusters"]


def test_layouts_are_these() -> None:
    assert sorted(LAYOUTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_layout_is_found_by_its_name_and_has_a_schema(name: str) -> None:
    layout = find_layout(name)
    assert layout.name == name
    assert find_layout(layout) is layout
    assert schema_of(name) is SCHEMAS[name]
    assert SCHEMAS[name].layout is layout


@pytest.mark.parametrize("name", NAMES)
def test_layout_pickles(name: str) -> None:
    assert pickle.loads(pickle.dumps(LAYOUTS[name])) == LAYOUTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_layout_maps_standard_columns_only_and_offers_defaults(name: str) -> None:
    layout = LAYOUTS[name]
    assert set(layout.columns) <= set(STANDARD[layout.object])
    assert set(layout.columns) <= set(layout.available)
    assert layout.required() <= layout.branches()


def test_unknown_layout_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'nanaod'.*Did you mean 'nanoaod'\?"):
        find_layout("nanaod")


def test_a_new_layout_gets_a_schema_of_its_own() -> None:
    layout = Layout("mine", "T", "cluster", {"energy": Column("e", "MeV")})
    assert schema_of(layout).layout is layout


def test_mistyped_column_and_unit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'enregy' cannot be mapped.*Did you mean 'energy'\?"):
        Layout("mine", "T", "cluster", {"enregy": Column("e")})
    with pytest.raises(ConfigError, match=r"unknown unit 'Gev'.*Did you mean 'GeV'\?"):
        Layout("mine", "T", "cluster", {"energy": Column("e", "Gev")})


def test_jet_index_has_no_branch() -> None:
    with pytest.raises(ConfigError, match="'index' cannot be mapped"):
        Layout("mine", "T", "jet", {"index": Column("i")}, jets="Jet")


def test_branches_of_a_column_include_factors_counters_and_links() -> None:
    nanoaod = LAYOUTS["nanoaod"]
    assert nanoaod.branches(["pt"]) == {"nFatJet", "FatJet_pt", "FatJet_rawFactor"}
    assert nanoaod.branches(["gen_pt"]) == {
        "nFatJet",
        "nGenJetAK8",
        "FatJet_genJetAK8Idx",
        "GenJetAK8_pt",
    }
    assert LAYOUTS["pfnano"].branches(["constituents.pt"]) == {
        "nFatJet",
        "nPFCands",
        "nFatJetPFCands",
        "FatJetPFCands_jetIdx",
        "FatJetPFCands_pFCandsIdx",
        "PFCands_pt",
        "PFCands_puppiWeight",
    }


def test_optional_branches_are_required_when_they_are_needed() -> None:
    nanoaod = LAYOUTS["nanoaod"]
    assert "Pileup_nTrueInt" not in nanoaod.required()
    assert "Pileup_nTrueInt" in nanoaod.required(["mu"])
    assert "FatJet_genJetAK8Idx" not in nanoaod.required()
    assert "FatJet_genJetAK8Idx" in nanoaod.required(["matched"])
    assert "genWeight" not in nanoaod.required(["weight"])  # 1 is as good


def test_needing_what_a_layout_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="layout 'nanoaod' has no column 'trimmed_mass'"):
        LAYOUTS["nanoaod"].required(["trimmed_mass"])
    with pytest.raises(ConfigError, match=r"no column 'etta'.*Did you mean 'eta'\?"):
        LAYOUTS["nanoaod"].branches(["etta"])
    with pytest.raises(ConfigError, match="'nanoaod_ak4' has no constituents"):
        LAYOUTS["nanoaod_ak4"].branches(["constituents"])


def test_constituents_stands_for_all_of_their_columns() -> None:
    expanded = LAYOUTS["flat_jets"].expand(["constituents", "pt"])
    assert expanded == (
        "pt",
        "constituents.pt",
        "constituents.eta",
        "constituents.phi",
        "constituents.mass",
        "constituents.pdg_id",
    )
