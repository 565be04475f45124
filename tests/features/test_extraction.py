"""Features in blocks: the same numbers, and errors that name the row of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib.exceptions import DataError
from hepcalib.features import Inputs, extraction

if TYPE_CHECKING:
    from hepcalib.batch import Batch

FEATURES = ["jet.eta", "jet.width"]
CONSTITUENTS = ["constituent.delta_eta", "constituent.delta_r", "constituent.log_pt_fraction"]


@pytest.fixture
def inputs() -> Inputs:
    return Inputs(features=FEATURES, constituents=CONSTITUENTS)


def assert_equal(first: Batch, second: Batch) -> None:
    assert first.features is not None
    assert second.features is not None
    assert first.constituents is not None
    assert second.constituents is not None
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.constituents.values, second.constituents.values)
    assert torch.equal(first.constituents.offsets, second.constituents.offsets)


def broken(jets: Any, row: int, name: str, value: float) -> Any:
    """Give the second constituent of a jet another value."""
    values = ak.flatten(jets["constituents", name]).to_numpy().copy()
    values[int(ak.sum(ak.num(jets["constituents"])[:row])) + 1] = value
    counts = ak.num(jets["constituents"])
    return ak.with_field(jets, ak.unflatten(values, counts), ("constituents", name))


@pytest.mark.parametrize("block", [1, 50, 1000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_and_order_in_memory_change_nothing(
    inputs: Inputs, jets: Any, block: int, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = inputs.extract(jets)
    monkeypatch.setattr(extraction, "BLOCK", block)
    found = inputs.extract_rows(inputs.table(jets), order=order)
    assert_equal(found, expected)
    assert found.constituents is not None
    assert found.constituents.values.is_contiguous() == (order == "C")
    inputs.fit(expected)
    assert_equal(inputs(found), inputs(expected))
    assert torch.equal(inputs.in_range(found), inputs.in_range(expected))


def test_rows_of_a_part_are_those_of_the_whole(inputs: Inputs, jets: Any) -> None:
    whole, table = inputs.extract(jets), inputs.table(jets)
    for start, stop in ((0, 400), (0, 3), (5, 9), (7, 8), (399, 400), (10, 10)):
        found, expected = (
            inputs.extract_rows(table.part(slice(start, stop))),
            whole.select(slice(start, stop)),
        )
        assert expected.constituents is not None
        packed = expected.constituents.packed()
        assert_equal(found, expected._replace(constituents=packed))


@pytest.mark.parametrize("row", [0, 150, 399])
def test_errors_name_the_row_of_the_whole(
    inputs: Inputs, jets: Any, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "BLOCK", 40)  # a jet or two
    place = rf"first in row {row} \(constituent 1\)"
    where = "" if row == 0 else r" in rows \d+-\d+"
    with pytest.raises(DataError, match=rf"1 of \d+ constituents{where} have no posi.*{place}: -1"):
        inputs.extract(broken(jets, row, "pt", -1.0))
    with pytest.raises(DataError, match=rf"'constituent.delta_eta' is not.*of \d+{where}, {place}"):
        Inputs(constituents=CONSTITUENTS).extract(broken(jets, row, "eta", np.nan))
    eta = jets["eta"].to_numpy().copy()
    eta[row] = np.inf
    with pytest.raises(DataError, match=rf"'jet.eta'.*of \d+{where}, first in row {row}: inf"):
        inputs.extract(ak.with_field(jets, eta, "eta"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.0])
def test_no_momentum_of_a_constituent_is_lost(inputs: Inputs, jets: Any, value: float) -> None:
    with pytest.raises(DataError, match=r"row 11 \(constituent 1\)"):
        inputs.extract(broken(jets, 11, "pt", value))


@pytest.mark.parametrize("name", ["pt", "eta", "pdg_id"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_of_jets_do_not_hide_what_is_not_finite(
    jets: Any, name: str, value: float
) -> None:
    whole = Inputs(features=["jet.ptd", "jet.width", "jet.charged_fraction"])
    bad = ak.with_field(
        jets, ak.values_astype(jets["constituents", name], np.float64), ("constituents", name)
    )
    assert whole.extract(bad).rows == len(jets)
    with pytest.raises(DataError, match=r"row 11"):
        whole.extract(broken(bad, 11, name, value))


def test_a_jet_outside_is_found_in_either_order(inputs: Inputs, jets: Any) -> None:
    inputs.fit(inputs.extract(jets))
    far = broken(broken(jets, 30, "eta", 40.0), 90, "eta", -40.0)
    for order in ("C", "F"):
        raw = inputs.extract_rows(inputs.table(far), order=order)
        outside = (~inputs.in_range(raw)).nonzero().squeeze(1).tolist()
        assert {30, 90} <= set(outside)
        assert set(outside) - {30, 90} == set(
            (~inputs.in_range(inputs.extract(jets))).nonzero().squeeze(1).tolist()
        ) - {30, 90}


@pytest.mark.parametrize("code", [0.7, 1e300])
def test_a_code_that_is_no_whole_number_is_refused(jets: Any, code: float) -> None:
    flags = Inputs(constituents=["constituent.is_photon", "constituent.charge"])
    codes = ak.values_astype(jets["constituents", "pdg_id"], np.float64)
    jets = ak.with_field(jets, codes, ("constituents", "pdg_id"))
    with pytest.raises(DataError, match=r"no whole pdg_id, first in row 11 \(constituent 1\)"):
        flags.extract(broken(jets, 11, "pdg_id", code))
