"""The shipped comparison of decorrelations is sound, and some of its methods run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from hepcalib.config import load
from hepcalib.decorrelation import METHODS
from hepcalib.pipeline.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

ROLES = {"Plain", "DDT", "Flow", "uBoost", "DisCo", "Adversary seeds"}
MODELS = {"plain", "disco", "adversary", "uboost"}


def _without_the_others(path: Path) -> None:
    """Keep some of the methods, so that it is over soon."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    study = document["analyses"]["comparison"]
    study["models"] = {role: used for role, used in study["models"].items() if role in ROLES}
    study["options"] |= {"seeds": ["Adversary seeds"], "slices": {"pt": [200, 400, 700]}}
    used = set(study["models"].values())
    document["models"] = {n: m for n, m in document["models"].items() if n in MODELS}
    for section in ("scans", "decorrelators"):
        document[section] = {n: m for n, m in document[section].items() if n in used}
    del document["samples"]["qcd_sculpting_test"], document["datasets"]["qcd_more"]
    study["datasets"].remove("qcd_more")
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_all_of_it_can_be_meant(tmp_path: Path, reduced: Callable[..., Path]) -> None:
    loaded = load(reduced("decorrelation.yaml", tmp_path))
    check(loaded)
    config = loaded.config
    used = {d.method for d in config.decorrelators.values()}
    assert used == METHODS.keys() - {"convolved"}  # for a score whose shape at low mass is known
    roles = set(config.analyses["comparison"].models.values())
    assert roles == (
        {*config.scans, *config.decorrelators, *config.models}
        - {f"{role}-{i}" for role in config.scans for i in range(2000)}
        - ({scan.model for scan in config.scans.values()} - {"plain"})
    )
    for seeds in ("plain_seeds", "disco_seeds", "mode0_seeds", "adversary_seeds"):
        assert config.scans[seeds].key == ("training.seed",)


@pytest.mark.usefixtures("drawn_once")
def test_study_runs(
    tmp_path: Path, hepcalib: Callable[..., Result], reduced: Callable[..., Path]
) -> None:
    config = reduced("decorrelation.yaml", tmp_path)
    _without_the_others(config)
    result = hepcalib("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["balanced"] is True
    assert {account["events"]["processed"] for account in ledger["datasets"].values()} == {120}
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    table = found["comparison"]["table"]
    assert len(table) == 4 + 2 + 2 + 1  # single trainings, two strengths, two seeds and their mean
    assert {"Plain", "DDT", "Flow", "uBoost"} <= table.keys()
    for row in table.values():
        assert row["R50"] > 0
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert {"comparison_decorrelation", "comparison_divergence", "comparison_mass_Flow"} <= figures
    kept = {
        path.name.split("-")[0] for path in (tmp_path / "workspace" / "decorrelators").iterdir()
    }
    assert kept == {"designed", "flow"}
