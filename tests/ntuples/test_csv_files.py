"""CSV files of clusters: read like any other ntuple, and refused with the place of the error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib import ntuples, run
from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.csv_files import read_csv
from hepcalib.ntuples.pion_clusters import PION_CLUSTERS

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "file_name": "a.root",
    "event_ind": "7",
    "cluster_ind": "0",
    "cluster_E": "2.5",
    "cluster_Pt": "1.25",
    "cluster_Eta": "-1.3",
    "cluster_Phi": "0.5",
    "cluster_ENG_CALIB_TOT": "2.0",
    "type": "pion",
    "pred_cluster_ENG_CALIB_TOT": "2.1",
    "pred_prob": "0.75",
}


def write(path: Path, *rows: dict[str, str], names: list[str] | None = None) -> Path:
    header = list(COLUMNS) if names is None else names
    lines = [",".join(header)]
    lines += [",".join({**COLUMNS, **row}.get(name, "0") for name in header) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(path: Path, match: str) -> None:
    with pytest.raises(NtupleError, match=match):
        read_csv(path, PION_CLUSTERS)
    with pytest.raises(NtupleError, match=match):
        ntuples.scan(path, PION_CLUSTERS)


def test_standard_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", {}, {"type": "pi0", "event_ind": "9", "pred_prob": "1e-3"})
    clusters = ntuples.read(path, "pion_clusters")
    assert clusters.energy.tolist() == [2.5, 2.5]
    assert clusters.pdg_id.tolist() == [211, 111]
    assert clusters.event.tolist() == [7, 9]
    assert clusters.weight.tolist() == [1.0, 1.0]
    assert np.all(np.isnan(clusters.mu))
    second = ntuples.read(path, "pion_clusters", start=1)[0]
    assert second.charged_published == np.float32(1e-3)
    assert second.energy_published == np.float32(2.1)
    assert second.rapidity == np.float32(-1.3)


def test_optional_columns_may_be_absent(tmp_path: Path) -> None:
    names = [name for name in COLUMNS if not name.startswith("pred_")]
    clusters = ntuples.read(write(tmp_path / "c.csv", {}, names=names), "pion_clusters")
    assert np.all(np.isnan(clusters.energy_published))
    with pytest.raises(NtupleError, match="missing branch 'pred_cluster_ENG_CALIB_TOT'"):
        ntuples.scan(tmp_path / "c.csv", "pion_clusters", needs=["energy_published"])


def test_a_scan_knows_the_contents(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", *[{}] * 5)
    found = ntuples.scan(path, "pion_clusters")
    assert (found.entries, found.sum_of_weights) == (5, 5.0)
    assert found.size == path.stat().st_size
    copy, other = tmp_path / "copy.csv", write(tmp_path / "other.csv", *[{}] * 4)
    copy.write_bytes(path.read_bytes())
    assert ntuples.scan(copy, "pion_clusters").uuid == found.uuid
    assert ntuples.scan(other, "pion_clusters").uuid != found.uuid
    with pytest.raises(NtupleError, match="would be counted twice"):
        run.scan_dataset("pions", [path, copy], "pion_clusters")


def test_a_file_without_clusters(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv")
    assert ntuples.scan(path, "pion_clusters").entries == 0
    assert len(ntuples.read(path, "pion_clusters")) == 0


@pytest.mark.parametrize(
    ("cell", "needed"),
    [
        ({"cluster_E": "2,5"}, "12 cells, the first line names 11 columns"),
        ({"cluster_E": "abc"}, "column 'cluster_E' is 'abc'; needed: a finite number"),
        ({"cluster_E": ""}, "column 'cluster_E' is ''; needed: a finite number"),
        ({"pred_prob": "nan"}, "column 'pred_prob' is 'nan'; needed: a finite number"),
        ({"event_ind": "1.5"}, "column 'event_ind' is '1.5'; needed: a whole number"),
        ({"type": "kaon"}, "column 'type' is 'kaon'; needed: pi0 or pion"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, cell: dict[str, str], needed: str) -> None:
    path = write(tmp_path / "c.csv", {}, cell, {})
    refused(path, rf"c\.csv:3: {needed}")
    dataset = run.scan_dataset("pions", [path], "pion_clusters")
    assert needed in dataset.unreadable[0].reason


def test_a_message_is_one_printable_line(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("energy\x1b[31m\t,\x07eta\n1,2\n", encoding="utf-8")
    found = run.scan_dataset("given", [path], PION_CLUSTERS.name)
    (bad,) = found.unreadable
    assert bad.reason.isprintable()
    assert "energy" in bad.reason


def test_columns_that_nobody_asks_for_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", {"file_name": '"a, ""b"""'}, {"file_name": ""})
    assert len(read_csv(path, PION_CLUSTERS)["cluster_E"]) == 2


def test_a_bad_file_is_named(tmp_path: Path, data: Path) -> None:
    def of(content: bytes) -> Path:
        (tmp_path / "c.csv").write_bytes(content)
        return tmp_path / "c.csv"

    refused(tmp_path / "none.csv", r"none\.csv: cannot be opened: No such file")
    refused(of(b""), r"c\.csv: the file is empty")
    refused(of(b"\xff\xfe\x00"), r"c\.csv: is no CSV file: 'utf-8' codec")
    refused(of(b'"open'), r"c\.csv: is no CSV file: unexpected end of data")
    page = (data / "damaged" / "html_error_page.root").read_bytes()
    refused(of(page), r"c\.csv:1: the first line has no column cluster_E, .* it reads <")
    twice = [*COLUMNS, "cluster_E"]
    refused(write(tmp_path / "c.csv", names=twice), r"c\.csv:1: the first line has cluster_E twice")
    whole = write(tmp_path / "w.csv", {}, {}).read_bytes()
    refused(of(whole[:-20]), r"c\.csv:3: \d+ cells, the first line names 11 columns")
