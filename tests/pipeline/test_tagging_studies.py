"""The shipped studies of taggers run, on reduced samples that they share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

EXPECTED = {
    "constituent_taggers": {"comparison_roc", "comparison_comparison", "training_gn2"},
    "uncertain_taggers": {"uncertain_reliability", "uncertain_hardest_logit_mean"},
}

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_study_runs(
    tmp_path: Path,
    workspace: Path,
    hepcalib: Callable[..., Result],
    reduced: Callable[..., Path],
    name: str,
) -> None:
    config = reduced(f"{name}.yaml", tmp_path, workspace=workspace)
    result = hepcalib("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["balanced"] is True
    assert {account["events"]["processed"] for account in ledger["datasets"].values()} == {120}
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert EXPECTED[name] <= figures
    assert len(list((workspace / "samples").glob("*.root"))) == 4
