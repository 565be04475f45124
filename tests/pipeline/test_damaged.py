"""The real damaged files: today's libraries lose them, crash on them or read them wrongly."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import awkward as ak
import pytest
import yaml

from hepcalib import hists, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]
    Write = Callable[..., Path]

NEVER = "no message: only a declared sha256 can tell"
REASONS = {
    "empty.root": r"the file is empty \(0 bytes\)",
    "html_error_page.root": "not a ROOT file, it is a text or HTML page",
    "truncated.root": r"truncated: the header announces \d+ bytes, the file has 1000000",
    "truncated_tail.root": r"truncated: the header announces \d+ bytes, the file has 229104",
    "missing_branch.root": "missing branch 'Jet_rawFactor'",
    "missing_tree.root": "there is no tree 'Events'. Trees found: EventsOld",
    "bitflip_zstd_raises.root": "branch 'Jet_pt' cannot be read: DecompressionError",
    "bitflip_zstd_counts.root": r"branch 'Jet_pt' and counter 'nJet' disagree in 3 events",
    "bitflip_zstd_silent.root": NEVER,
}


@pytest.fixture(scope="module")
def reference_sha256(data: Path) -> str:
    lines = (data / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    (found,) = (line.split()[0] for line in lines if line.endswith("damaged/reference_zstd.root"))
    return found


@pytest.fixture
def analyse(data: Path, tmp_path: Path, bundle: Write, hepcalib: Command) -> Callable[..., Result]:
    """Process the reference and a damaged file; return the result, the output is in "out"."""

    def command(name: str, **options: Any) -> Result:
        damaged = {"files": [f"${{HEPCALIB_DATA}}/damaged/{name}"], "layout": "nanoaod_ak4"}
        good = {**damaged, "files": ["${HEPCALIB_DATA}/damaged/reference_zstd.root"]}
        response = str(bundle(tmp_path / "response", model="ak4_response"))
        document = {
            "version": 1,
            "name": "damaged",
            "models": {"response": {"bundle": response}},
            "datasets": {"good": good, "damaged": {**damaged, **options}},
            "analyses": {
                "jets": {
                    "processor": "processors:JetCalibration",
                    "datasets": ["good", "damaged"],
                    "models": {"calibration": "response"},
                    "options": {"weights": "none"},
                }
            },
        }
        path = tmp_path / "damaged.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return hepcalib("process", path, "--data", data, "--out", tmp_path / "out")

    return command


def read_ledger(out: Path) -> Any:
    return json.loads((out / "ledger.json").read_text(encoding="utf-8"))["datasets"]


def entries(out: Path) -> float:
    text = (out / "histograms.json").read_text(encoding="utf-8")
    histogram: Any = hists.from_json(text)["jets/response_mu"]
    return float(histogram[0, :, :].sum(flow=True).value)


@pytest.mark.parametrize("name", [name for name, reason in REASONS.items() if reason != NEVER])
def test_the_file_fails_with_its_reason_and_the_reference_is_unharmed(
    analyse: Command, data: Path, tmp_path: Path, name: str
) -> None:
    result = analyse(name, events={name: 200}, sum_of_weights={name: 70034})
    assert result.exit_code == 1
    path = str(data / "damaged" / name)
    assert path in result.stderr
    assert re.search(REASONS[name], result.stderr)
    ledger = read_ledger(tmp_path / "out")
    assert ledger["good"]["events"]["processed"] == 200
    assert ledger["good"]["sum_of_weights"]["processed"] == pytest.approx(70034, rel=1e-7)
    damaged = ledger["damaged"]
    assert damaged["events"] == {"expected": 200, "processed": 0, "skipped": 0, "failed": 200}
    assert damaged["chunks"] == {"expected": 1, "processed": 0, "skipped": 0, "failed": 1}
    assert damaged["sum_of_weights"]["failed"] == pytest.approx(70034, rel=1e-7)
    (problem,) = damaged["problems"]
    assert problem["file"] == path
    assert re.search(REASONS[name], problem["reason"])
    good = ntuples.read(data / "damaged" / "reference_zstd.root", "nanoaod_ak4")
    assert entries(tmp_path / "out") == ak.sum(good.matched) == 1345


@pytest.mark.parametrize("name", [name for name in REASONS if name.startswith(("bit", "trunc"))])
def test_a_declared_checksum_finds_every_change(
    analyse: Command, reference_sha256: str, tmp_path: Path, name: str
) -> None:
    result = analyse(name, sha256={name: reference_sha256}, events={name: 200})
    assert result.exit_code == 1
    assert name in result.stderr
    assert f"expected {reference_sha256}" in result.stderr or "truncated" in result.stderr
    assert read_ledger(tmp_path / "out")["damaged"]["events"]["failed"] == 200


def test_without_its_checksum_a_flipped_bit_can_be_silent(analyse: Command, tmp_path: Path) -> None:
    """The control: here is why a checksum should be declared."""
    assert analyse("bitflip_zstd_silent.root").exit_code == 0
    assert read_ledger(tmp_path / "out")["damaged"]["events"]["processed"] == 200


def test_a_tolerated_file_is_skipped(analyse: Command, tmp_path: Path) -> None:
    result = analyse("bitflip_zstd_raises.root", tolerate_bad_files=True)
    assert result.exit_code == 0, result.output
    damaged = read_ledger(tmp_path / "out")["damaged"]
    assert damaged["events"] == {"expected": 200, "processed": 0, "skipped": 200, "failed": 0}
    assert "DecompressionError" in damaged["problems"][0]["reason"]
