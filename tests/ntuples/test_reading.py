from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.exceptions import ConfigError, DataError, NtupleError
from hepcalib.ntuples import LAYOUTS, Column, Layout, objects, open_events, read

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _floats(array: ak.Array) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _sum_over_raw(jets: ak.Array) -> NDArray[np.float64]:
    """|vector sum of the constituents| / raw pT of the jets that have any."""
    flat = ak.flatten(jets)
    pt, phi = flat.constituents.pt, flat.constituents.phi
    total = np.hypot(ak.sum(pt * np.cos(phi), axis=1), ak.sum(pt * np.sin(phi), axis=1))
    ratio = _floats(total) / _floats(flat.pt)
    return ratio[_floats(ak.num(pt)) > 0]


def _counted(codes: ak.Array) -> dict[int, int]:
    values, counts = np.unique(np.asarray(ak.flatten(codes, axis=None)), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.fixture(scope="module")
def cms_jets(data: Path) -> ak.Array:
    """The AK8 jets of the real NanoAOD file."""
    return read(data / "cms_nanoaodv15_ttbar.root", "nanoaod")


class TestRealFiles:
    def test_nanoaod_constituents_add_up_to_the_raw_jet(self, cms_jets: ak.Array) -> None:
        ratio = _sum_over_raw(cms_jets)
        assert len(ratio) == 62
        assert np.median(ratio) == pytest.approx(0.9993, abs=5e-5)
        low, high = np.quantile(ratio, [0.05, 0.95])
        assert (low, high) == pytest.approx((0.9982, 1.0003), abs=1e-4)

    def test_nanoaod_jets_without_constituents_are_empty_rows(self, cms_jets: ak.Array) -> None:
        empty = ak.num(cms_jets.constituents.pt, axis=2) == 0
        assert np.flatnonzero(ak.any(empty, axis=1)).tolist() == [11, 180]
        assert np.round(_floats(ak.flatten(cms_jets.pt_published[empty]))).tolist() == [207, 240]
        assert int(ak.sum(ak.num(cms_jets.constituents.pt, axis=2))) == 2374

    def test_nanoaod_responses(self, cms_jets: ak.Array) -> None:
        assert int(ak.sum(ak.num(cms_jets) > 0)) == 43
        flat = ak.flatten(cms_jets)
        assert len(flat) == int(ak.sum(flat.matched)) == 64
        assert np.median(flat.pt_published / flat.gen_pt) == pytest.approx(1.018, abs=5e-4)
        assert np.median(flat.pt / flat.gen_pt) == pytest.approx(0.935, abs=5e-4)
        assert int(ak.sum((flat.softdrop_mass > 60) & (flat.softdrop_mass < 100))) == 22
        assert set(flat.label.tolist()) == {-1}
        assert np.isnan(_floats(flat.trimmed_mass)).all()
        assert _counted(flat.flavour) == {0: 21, 4: 10, 5: 33}

    def test_nanoaod_event_columns(self, data: Path, cms_jets: ak.Array) -> None:
        offered = ["Rho_fixedGridRhoFastjetAll", "PV_npvs"]
        path = data / "cms_nanoaodv15_ttbar.root"
        with open_events(path, "nanoaod", branches=offered) as events:
            assert np.mean(events.Rho_fixedGridRhoFastjetAll) == pytest.approx(32.3, abs=0.05)
            assert np.mean(events.PV_npvs) == pytest.approx(35.6, abs=0.05)
            rho = events.Rho_fixedGridRhoFastjetAll.tolist()
        assert cms_jets.rho.tolist() == [
            [r] * n for r, n in zip(rho, ak.num(cms_jets), strict=True)
        ]
        assert 9.3 <= np.min(cms_jets.mu) <= np.max(cms_jets.mu) <= 63.4
        assert set(np.round(ak.flatten(cms_jets.weight), 2).tolist()) == {350.17}

    def test_nanoaod_ak4_responses(self, data: Path) -> None:
        flat = ak.flatten(read(data / "cms_nanoaodv15_ttbar.root", "nanoaod_ak4"))
        matched = flat[flat.matched]
        assert (len(flat), len(matched)) == (1636, 1345)
        assert np.median(matched.pt_published / matched.gen_pt) == pytest.approx(1.045, abs=5e-4)
        assert np.median(matched.pt / matched.gen_pt) == pytest.approx(0.912, abs=5e-4)
        assert np.isnan(_floats(flat.gen_pt[~flat.matched])).all()
        assert _counted(flat.flavour) == {0: 63, 1: 563, 4: 207, 5: 363, 21: 440}

    def test_pfnano_constituents_carry_the_puppi_weight(self, data: Path) -> None:
        jets = read(data / "cms_pfnano.root", "pfnano")
        ratio = _sum_over_raw(jets)
        assert len(ratio) == 24
        assert np.median(ratio) == pytest.approx(0.9998, abs=5e-5)
        flat = ak.flatten(jets)
        assert int(ak.sum(ak.num(flat.constituents))) == 1076
        matched = flat[flat.matched]
        assert len(matched) == 23
        assert np.median(matched.pt / matched.gen_pt) == pytest.approx(0.909, abs=5e-4)
        assert np.median(matched.pt_published / matched.gen_pt) == pytest.approx(0.980, abs=5e-4)
        rho = ["fixedGridRhoFastjetAll"]
        with open_events(data / "cms_pfnano.root", "pfnano", branches=rho) as events:
            assert np.mean(events.fixedGridRhoFastjetAll) == pytest.approx(18.6, abs=0.05)

    def test_pfnano_without_the_puppi_weight_does_not_add_up(self, data: Path) -> None:
        pfnano = LAYOUTS["pfnano"]
        columns = {**pfnano.columns, "constituents.pt": Column("PFCands_pt", "GeV")}
        plain = Layout("plain", "Events", "jet", columns, "FatJet", pfnano.gen, pfnano.candidates)
        ratio = _sum_over_raw(read(data / "cms_pfnano.root", plain))
        assert np.median(ratio) == pytest.approx(1.0024, abs=5e-5)


def test_clusters_come_back_as_they_were_written(
    clusters: Path, cluster_columns: dict[str, Any]
) -> None:
    found = read(clusters, "cluster_tree")
    for name, column in LAYOUTS["cluster_tree"].columns.items():
        if column.branch in cluster_columns:
            assert found[name].tolist() == cluster_columns[column.branch].tolist()
    assert found.weight.tolist() == [1.0] * 40
    assert np.isnan(_floats(found.had_weight)).all()
    assert np.isnan(_floats(found.oracle_response)).all()


def test_jets_come_back_as_they_were_written(jets: Path, jet_columns: dict[str, Any]) -> None:
    found = read(jets, "flat_jets")
    for name in ("pt", "eta", "phi", "mass", "label"):
        assert found[name].tolist() == jet_columns[f"Jet_{name}"].tolist()
    assert found.softdrop_mass.tolist() == jet_columns["Jet_msoftdrop"].tolist()
    assert found.rho.tolist() == [[20.0, 20.0], [], [22.0], [23.0]]
    assert found.event.tolist() == [[10, 10], [], [12], [13]]
    assert found.weight.tolist() == [[1.0, 1.0], [], [2.0], [0.25]]
    assert found.index.tolist() == [[0, 1], [], [0], [0]]
    assert found.constituents.pt.tolist() == [[[5.0, 100.0, 200.0], []], [], [[150.0, 250.0]], [[]]]
    assert found.constituents.pdg_id.tolist() == [[[130, 211, 22], []], [], [[11, -13]], [[]]]
    assert np.isnan(_floats(ak.flatten(found.area))).all()


def test_jets_without_a_generator_level_jet_are_unmatched(jets: Path) -> None:
    found = read(jets, "flat_jets", columns=["matched", "gen_pt", "gen_mass"])
    assert found.matched.tolist() == [[True, False], [], [True], [False]]
    assert ak.nan_to_num(found.gen_pt, nan=-1).tolist() == [[310.0, -1.0], [], [420.0], [-1.0]]
    assert ak.nan_to_num(found.gen_mass, nan=-1).tolist() == [[82.0, -1.0], [], [85.0], [-1.0]]


def test_a_part_of_the_entries(jets: Path, clusters: Path) -> None:
    whole = read(jets, "flat_jets")
    for start, stop in ((0, 0), (0, 1), (1, 2), (2, 4), (None, None), (3, 99)):
        part = read(jets, "flat_jets", start=start, stop=stop)
        assert part.pt.tolist() == whole.pt[start:stop].tolist()
        assert part.constituents.pt.tolist() == whole.constituents.pt[start:stop].tolist()
    assert len(read(clusters, "cluster_tree", start=30)) == 10


def test_a_file_without_entries(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    path = tmp_path / "none.root"
    ntuples.write(path, "Events", {name: column[:0] for name, column in jet_columns.items()})
    found = read(path, "flat_jets")
    assert len(found) == 0
    assert found.fields == [
        *(n for n in LAYOUTS["flat_jets"].available if "." not in n),
        "constituents",
    ]


def test_events_without_jets(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    path = tmp_path / "nojets.root"
    ntuples.write(path, "Events", {name: column[1:2] for name, column in jet_columns.items()})
    found = read(path, "flat_jets")
    assert found.pt.tolist() == found.constituents.pt.tolist() == [[]]
    assert found.matched.tolist() == [[]]


def test_objects_are_the_same_lazily_and_eagerly(jets: Path) -> None:
    with open_events(jets, "flat_jets") as events:
        assert ak.array_equal(
            ak.materialize(objects(events)), read(jets, "flat_jets"), equal_nan=True
        )


def test_only_the_branches_of_a_column_are_read(jets: Path) -> None:
    log: list[Any] = []
    with open_events(jets, "flat_jets", access_log=log) as events:
        found = objects(events)
        assert not log
        np.asarray(ak.flatten(found).rho)
        assert {accessed.branch for accessed in log} == {"nJet", "rho"}
        ak.materialize(ak.flatten(found)[ak.flatten(found.rho) > 0].constituents.pt)
        links = {"nJetPFCand", "nPFCand", "JetPFCand_jetIdx", "JetPFCand_pfCandIdx"}
        read_now = {accessed.branch for accessed in log}
        assert read_now == {"nJet", "rho", "PFCand_pt"} | links


def test_columns_survive_cuts_on_events(jets: Path) -> None:
    whole = read(jets, "flat_jets")
    with open_events(jets, "flat_jets") as events:
        kept = objects(events[np.array([True, True, False, True])])
        assert kept.pt.tolist() == whole.pt[[0, 1, 3]].tolist()
        assert kept.constituents.pt.tolist() == whole.constituents.pt[[0, 1, 3]].tolist()


def test_units_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "units.root"
    ntuples.write(path, "T", {"e": np.array([2500.0]), "l": np.array([3.0]), "t": np.array([0.5])})
    layout = Layout(
        "mine",
        "T",
        "cluster",
        {
            "energy": Column("e", "MeV"),
            "center_lambda": Column("l", "cm"),
            "time": Column("t", "ps"),
            "mu": Column("absent", required=False, default=40.0),
        },
    )
    found = read(path, layout)
    assert found.energy.tolist() == pytest.approx([2.5])
    assert found.center_lambda.tolist() == pytest.approx([30.0])
    assert found.time.tolist() == pytest.approx([0.0005])
    assert found.mu.tolist() == [40.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_constituents_must_be_finite(
    tmp_path: Path, jet_columns: dict[str, Any], value: float
) -> None:
    path = tmp_path / "nan.root"
    pt = ak.to_numpy(ak.flatten(jet_columns["PFCand_pt"])).copy()
    pt[6] = value
    columns = {**jet_columns, "PFCand_pt": ak.unflatten(pt, [4, 1, 2, 0])}
    ntuples.write(path, "Events", columns)
    with pytest.raises(DataError, match=r"nan.root, entries 0-4: 'PFCand_pt' .* jet 0 of entry 2"):
        read(path, "flat_jets")


def test_a_candidate_of_no_jet_may_be_anything(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    path = tmp_path / "nan.root"
    pt = ak.to_numpy(ak.flatten(jet_columns["PFCand_pt"])).copy()
    pt[3] = np.nan
    ntuples.write(path, "Events", {**jet_columns, "PFCand_pt": ak.unflatten(pt, [4, 1, 2, 0])})
    assert len(read(path, "flat_jets")) == 4


def test_a_link_past_the_candidates_is_refused(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    path = tmp_path / "broken.root"
    links = ak.Array([[2, 0, 1], [], [0, 2], []])
    ntuples.write(path, "Events", {**jet_columns, "JetPFCand_pfCandIdx": links})
    with pytest.raises(DataError, match=r"broken.root, entries 0-4: .*candidate 2 in entry 2"):
        read(path, "flat_jets")
    with pytest.raises(DataError, match="in entry 2"):
        read(path, "flat_jets", start=1)
    assert len(read(path, "flat_jets", columns=["pt", "gen_pt"])) == 4


def test_a_generator_level_link_past_the_end(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    path = tmp_path / "broken.root"
    links = ak.Array([[1, -1], [], [1], [-1]])
    ntuples.write(path, "Events", {**jet_columns, "Jet_genJetIdx": links})
    with pytest.raises(DataError, match=r"'Jet_genJetIdx' points past .* first 1 in entry 2"):
        read(path, "flat_jets")
    ours = LAYOUTS["flat_jets"]
    assert ours.gen is not None
    lenient = Layout(
        "lenient",
        "Events",
        "jet",
        ours.columns,
        "Jet",
        ours.gen._replace(beyond="unmatched"),
        ours.candidates,
    )
    assert read(path, lenient).matched.tolist() == [[True, False], [], [False], [False]]


def test_the_layout_is_in_the_metadata_or_given(jets: Path) -> None:
    with open_events(jets, "flat_jets", metadata={"dataset": "wjets"}) as events:
        assert events.metadata["layout"] == "flat_jets"
        assert ntuples.where(events) == f"dataset 'wjets', {jets}, entries 0-4"
    with open_events(jets, "flat_jets") as events:
        assert objects(events, layout="flat_jets").pt.tolist() == objects(events).pt.tolist()


def test_a_missing_branch_is_named_with_its_neighbour(
    tmp_path: Path, jet_columns: dict[str, Any]
) -> None:
    path = tmp_path / "missing.root"
    columns = {n: c for n, c in jet_columns.items() if n not in {"rho", "Jet_phi", "Jet_label"}}
    ntuples.write(path, "Events", columns)
    with pytest.raises(
        NtupleError, match=r"missing.root: tree 'Events' is missing 2 branches"
    ) as e:
        read(path, "flat_jets")
    assert "'Jet_phi' (nearest: '" in str(e.value)
    assert "'rho'" in str(e.value)
    found = read(path, "flat_jets", columns=["pt", "label"])
    assert found.label.tolist() == [[-1, -1], [], [-1], [-1]]


def test_flavours_are_read_and_unknown_where_there_are_none(
    tmp_path: Path, jet_columns: dict[str, Any], jets: Path
) -> None:
    assert set(ak.flatten(read(jets, "flat_jets").flavour).tolist()) == {0}
    flavour = ak.Array([[24, 21], [], [1], [5]])
    path = tmp_path / "flavours.root"
    ntuples.write(path, "Events", {**jet_columns, "Jet_flavour": flavour})
    assert read(path, "flat_jets").flavour.tolist() == flavour.tolist()


@pytest.mark.parametrize(
    ("layout", "branch", "jets", "expected"),
    [
        ("nanoaod_ak4", "partonFlavour", "Jet", [1, 1, 1, 4, 5, 5, 21, 0, 0]),
        ("nanoaod", "hadronFlavour", "FatJet", [0, 0, 0, 4, 0, 5, 0, 0, 0]),
    ],
)
def test_flavours_of_cms(
    tmp_path: Path, layout: str, branch: str, jets: str, expected: list[int]
) -> None:
    codes = np.array([1, -2, 3, 4, -5, 5, 21, 0, 11])
    column = LAYOUTS[layout].columns["flavour"]
    assert column.branch == f"{jets}_{branch}"
    path = tmp_path / "codes.root"
    ntuples.write(path, "Events", {column.branch: ak.Array([codes])})
    assert read(path, layout, columns=["flavour"]).flavour.tolist() == [expected]


def test_unknown_columns_are_refused(jets: Path) -> None:
    with pytest.raises(ConfigError, match=r"no column 'ptt'.*Did you mean 'pt'\?"):
        read(jets, "flat_jets", columns=["ptt"])
