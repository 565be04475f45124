from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hepcalib.run import Dataset, process, scan_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from coffea.processor import ProcessorABC

LAYOUT = "nanoaod_ak4"
AT_THE_SCAN = {
    "empty": "the file is empty",
    "html_error_page": "not a ROOT file, it is a text or HTML page",
    "missing_branch": "missing branch 'Jet_rawFactor'",
    "missing_tree": "Trees found: EventsOld",
    "truncated": "truncated: the header announces",
    "truncated_tail": "truncated: the header announces",
}
ON_READING = {
    "bitflip_zstd_counts": "'Jet_pt' and counter 'nJet' disagree",
    "bitflip_zstd_raises": "'Jet_pt' cannot be read: DecompressionError",
}


@pytest.fixture
def damaged(data: Path) -> list[Dataset]:
    """One dataset per damaged file."""
    names = [*AT_THE_SCAN, *ON_READING]
    folder = data / "damaged"
    return [scan_dataset(name, [folder / f"{name}.root"], LAYOUT) for name in names]


def test_damaged_files_stand_in_the_ledger_and_harm_no_other(
    reference: Dataset,
    damaged: list[Dataset],
    counting: ProcessorABC,
    executor: dict[str, Any],
) -> None:
    result = process(counting, [*damaged, reference], chunk_size=200, retries=0, **executor)
    assert result.output["reference/jets"] == 1636
    assert result.output["reference/sum"] == pytest.approx(90113.914, rel=1e-6)
    assert not any(name.partition("/")[0] != "reference" for name in result.output)
    accounts = result.ledger.datasets
    assert tuple(accounts["reference"].events) == (200, 200, 0, 0)
    assert not result.ledger.ok
    for name, reason in {**AT_THE_SCAN, **ON_READING}.items():
        (problem,) = accounts[name].problems
        assert problem.file.endswith(f"damaged/{name}.root")
        assert problem.file in problem.reason
        assert reason in problem.reason
        assert problem.kind == "failed"
        assert tuple(accounts[name].chunks) == (1, 0, 0, 1)
        assert f"dataset '{name}'" in result.ledger.complaint()
    for name in ON_READING:
        assert tuple(accounts[name].events) == (200, 0, 0, 200)
        assert accounts[name].sum_of_weights.failed == pytest.approx(70034, abs=0.01)
        assert accounts[name].balanced
    for name in AT_THE_SCAN:
        assert accounts[name].problems[0].events is None
        assert not accounts[name].balanced


def test_damage_costs_no_more_than_its_chunks(data: Path, counting: ProcessorABC) -> None:
    path = data / "damaged" / "bitflip_zstd_counts.root"
    result = process(counting, [scan_dataset("d", [path], LAYOUT)], chunk_size=20)
    account = result.ledger.datasets["d"]
    assert result.ledger.balanced
    assert 0 < account.chunks.failed <= 3  # three events have wrong list lengths
    assert account.events.processed == 200 - 20 * account.chunks.failed
    assert sum(problem.events or 0 for problem in account.problems) == account.events.failed


def test_declared_counts_balance_a_file_that_cannot_be_opened(
    data: Path, counting: ProcessorABC
) -> None:
    folder = data / "damaged"
    dataset = scan_dataset(
        "d",
        [folder / "empty.root", folder / "reference_zstd.root"],
        LAYOUT,
        events={"empty.root": 200},
        sum_of_weights={"empty.root": 70034.0},
    )
    ledger = process(counting, [dataset]).ledger
    assert tuple(ledger.datasets["d"].events) == (400, 200, 0, 200)
    assert ledger.datasets["d"].sum_of_weights.failed == 70034.0
    assert ledger.balanced
    assert not ledger.ok


def test_tolerated_files_are_skipped_with_the_reason(
    reference: Dataset, damaged: list[Dataset], counting: ProcessorABC
) -> None:
    result = process(counting, [*damaged, reference], retries=0, tolerate=True)
    assert result.ledger.ok
    assert result.output["reference/jets"] == 1636
    for name in AT_THE_SCAN | ON_READING:
        account = result.ledger.datasets[name]
        assert tuple(account.chunks) == (1, 0, 1, 0)
        assert account.problems[0].kind == "skipped"
        assert account.problems[0].reason


def test_one_dataset_may_be_tolerant(data: Path, counting: ProcessorABC) -> None:
    folder = data / "damaged"
    tolerant = scan_dataset("t", [folder / "empty.root"], LAYOUT, tolerate=True)
    strict = scan_dataset("s", [folder / "missing_tree.root"], LAYOUT)
    assert process(counting, [tolerant]).ledger.ok
    ledger = process(counting, [tolerant, strict]).ledger
    assert ledger.datasets["t"].chunks.skipped == ledger.datasets["s"].chunks.failed == 1
    assert not ledger.ok


def test_silent_bit_flips_are_refused_by_the_declared_checksum(
    data: Path, counting: ProcessorABC
) -> None:
    path = data / "damaged" / "bitflip_zstd_silent.root"
    lines = (data / "SHA256SUMS").read_text(encoding="utf-8").split()
    good = lines[lines.index("damaged/reference_zstd.root") - 1]
    undeclared = process(counting, [scan_dataset("d", [path], LAYOUT)])
    assert undeclared.ledger.ok  # wrong by 0.4 %, and nobody can tell
    assert undeclared.output["d/sum"] == pytest.approx(90504.695, rel=1e-6)
    dataset = scan_dataset("d", [path], LAYOUT, sha256={path.name: good})
    result = process(counting, [dataset])
    assert not result.ledger.ok
    assert f"expected {good}" in result.ledger.datasets["d"].problems[0].reason
    assert not result.output
