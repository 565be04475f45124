"""No value changes what it means on its way from a branch to a standard column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib import ntuples
from hepcalib.exceptions import ConfigError, DataError, HepcalibError, NtupleError
from hepcalib.ntuples import Column, Layout, objects, open_events, read

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def codes(unit: str = "", **column: Any) -> Layout:
    columns = {"energy": Column("E", unit), "pdg_id": Column("code", **column)}
    return Layout("codes", "t", "cluster", columns)


def written(path: Path, **branches: NDArray[Any]) -> Path:
    given = {"E": np.ones(3, np.float32), "code": np.zeros(3, np.int32), **branches}
    with uproot.recreate(path) as file:
        file.mktree("t", {name: values.dtype for name, values in given.items()})
        file["t"].extend(given)
    return path


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (np.array([211.0, np.nan, 0.7]), "nan in entry 1 (2 such values)"),
        (np.array([211, 22, np.inf], np.float32), "inf in entry 2"),
        (np.array([211.0, 22.0, 0.7]), "0.7 in entry 2"),
        (np.array([1.0, 2.0**53, 1.0]), "9007199254740992.0 in entry 1"),
        (np.array([1.0, 1.0, 2.0**24], np.float32), "16777216.0 in entry 2"),
        (np.array([1, 2**63, 2**64 - 1], np.uint64), "9223372036854775808 in entry 1"),
    ],
)
def test_an_integer_column_holds_whole_numbers_only(
    tmp_path: Path, values: NDArray[Any], seen: str
) -> None:
    path = written(tmp_path / "codes.root", code=values)
    with pytest.raises(DataError) as caught:
        read(path, codes(), columns=["pdg_id"])
    assert f"codes.root, entries 0-3: branch 'code' is {seen}" in str(caught.value)
    assert "needed: a whole number from " in str(caught.value)
    with open_events(path, codes()) as events, pytest.raises(DataError, match="branch 'code'"):
        np.asarray(objects(events, layout=codes()).pdg_id)
    assert read(path, codes(), columns=["energy"]).energy.tolist() == [1.0] * 3
    flavours = codes(codes=((1, 1), (211, 211)))
    with pytest.raises(DataError, match="branch 'code'"):
        read(path, flavours, columns=["pdg_id"])


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u1", "?"])
def test_whole_numbers_are_read_whatever_their_type(tmp_path: Path, dtype: str) -> None:
    path = written(tmp_path / "codes.root", code=np.array([0, 1, 1], dtype))
    assert read(path, codes()).pdg_id.tolist() == [0, 1, 1]
    limits = np.array([0, 100, 1], dtype)
    assert read(written(path, code=limits), codes()).pdg_id.tolist() == limits.tolist()


def test_the_entry_is_that_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "codes.root", code=np.array([1.0, 2.0, 0.5]))
    with pytest.raises(DataError, match=r"entries 2-3: branch 'code' is 0\.5 in entry 2"):
        read(path, codes(), start=2)


@pytest.mark.parametrize(("value", "unit"), [(1e39, "GeV"), (-1e42, "MeV"), (1e307, "TeV")])
def test_what_is_finite_in_the_file_stays_finite(tmp_path: Path, value: float, unit: str) -> None:
    path = written(tmp_path / "large.root", E=np.array([1.0, value, np.inf]))
    with pytest.raises(DataError, match=r"branch 'E' is -?1e\+\d+ in entry 1 \(1 such values\)"):
        read(path, codes(unit), columns=["energy"])
    sound = written(path, E=np.array([1.0, np.nan, np.inf]))
    np.testing.assert_equal(np.isnan(np.asarray(read(sound, codes(unit)).energy))[1], True)


@pytest.mark.parametrize(
    "column",
    [
        {"required": False, "default": np.nan},
        {"required": False, "default": 0.5},
        {"codes": ((1, 0.7),)},
        {"codes": ((np.nan, 1),)},
        {"codes": ((2**63, 1),)},
    ],
)
def test_a_layout_gives_what_its_columns_can_hold(column: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"layout 'codes': column 'pdg_id': (default|code) is "):
        codes(**column)
    with pytest.raises(ConfigError, match=r"word 'pion' of 'type' is 0\.7; needed: a whole"):
        Layout("w", "t", "cluster", {}, format="csv", words={"type": {"pion": 0.7}})  # type: ignore[dict-item]  # refused


@pytest.mark.parametrize(
    ("branch", "values", "seen"),
    [
        ("Jet_genJetIdx", [[1.0, np.nan], [], [0.0], [-1.0]], "is nan in entry 0, Jet 1"),
        ("Jet_genJetIdx", [[1.0, -1.0], [], [0.5], [-1.0]], "is 0.5 in entry 2, Jet 0"),
        ("Jet_label", [[1.0, 0.0], [], [2.0], [0.1]], "is 0.1 in entry 3, Jet 0"),
        ("PFCand_pdgId", [[22, 0.5, 1, 1], [1], [1, 1], []], "is 0.5 in entry 0, PFCand 1"),
        ("GenJet_pt", [[1, 1e300], [], [1], []], "is 1e+300 in entry 0, GenJet 1"),
    ],
)
def test_values_of_lists(
    tmp_path: Path, jet_columns: dict[str, Any], branch: str, values: Any, seen: str
) -> None:
    path = tmp_path / "jets.root"
    ntuples.write(path, "Events", {**jet_columns, branch: ak.values_astype(ak.Array(values), "f8")})
    with pytest.raises(DataError) as caught:
        read(path, "flat_jets")
    assert f"jets.root, entries 0-4: branch '{branch}' {seen}" in str(caught.value)


def test_a_candidate_of_no_jet_may_have_any_code(
    tmp_path: Path, jet_columns: dict[str, Any]
) -> None:
    path = tmp_path / "jets.root"
    lists = ak.Array([[211.0, 22.0, 130.0, np.nan], [22.0], [11.0, -13.0], []])
    ntuples.write(path, "Events", {**jet_columns, "PFCand_pdgId": lists})
    assert read(path, "flat_jets").constituents.pdg_id.tolist()[0] == [[130, 211, 22], []]


@pytest.mark.parametrize("kind", ["float", "negative"])
def test_counters_are_numbers_of_objects(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "jets.root"
    counter = np.array([1, -1], np.int32) if kind == "negative" else np.array([1.0, np.nan])
    lists = ak.Array([[300.0], [200.0]])
    with uproot.recreate(path) as file:
        file.mktree("t", {"nJet": counter.dtype, "Jet_pt": "var * float64"}, counter_name=_free)
        file["t"].extend({"nJet": counter, "Jet_pt": lists})
    layout = Layout("j", "t", "jet", {"pt": Column("Jet_pt", "GeV")}, jets="Jet")
    with pytest.raises(NtupleError, match=r"jets\.root.*counter 'nJet' .*(float64|-1 in entry 1)"):
        read(path, layout)


def _free(name: str) -> str:
    return f"count_{name}"


def test_texts_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "text.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"E": "float32", "code": "string", "nJet": "int32"})
        texts = ["211", "22"]
        file["t"].extend({"E": np.ones(2, np.float32), "code": texts, "nJet": np.array([3, 2])})
    with pytest.raises(DataError, match=r"branch 'code' holds .*not numbers"):
        read(path, codes())
    layout = Layout("j", "t", "jet", {"pt": Column("code")}, jets="Jet")
    with pytest.raises(HepcalibError, match=r"branch 'code' is .*not a list per event"):
        read(path, layout)
