"""The benchmarks that are programs of one file run, and measure what they say."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import torch

from benchmarks import distance_correlation, jet_samples, uncertainty
from hepcalib.batch import Batch
from hepcalib.models import Bayesian
from hepcalib.samples.jets import block

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

REFERENCES = {"plain step", "plain pass"}


def test_costs_of_uncertain_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads, file = torch.get_num_threads(), tmp_path / "costs.json"
    options = ["--rounds", "1", "--batch", "16", "--device", "cpu", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["uncertainty.py", *options])
    try:
        uncertainty.main()
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    costs = [uncertainty.Cost(**cost) for cost in json.loads(file.read_text())]
    assert len(lines) == 2 + len(costs)
    ratios = {cost.name: cost.ratio for cost in costs}
    assert {name for name, ratio in ratios.items() if ratio == 1.0} >= REFERENCES
    assert {cost.reference for cost in costs} == REFERENCES
    bounds = {cost.name: cost.bound for cost in costs if cost.bound is not None}
    assert bounds == {
        "Bayesian step": 2.2,
        "10 networks, stacked": 7.5,
        "50 draws, stacked": 45.0,
        "moments": 4.0,
    }


def test_draws_in_a_loop_are_the_stacked_ones() -> None:
    model = Bayesian(uncertainty.plain("cpu"), draws=uncertainty.DRAWS).eval()
    batch = Batch(torch.randn(7, uncertainty.FEATURES))
    with torch.no_grad():
        loop = uncertainty.loop_over_draws(model, batch)()
        torch.testing.assert_close(loop, model.member_outputs(batch), rtol=1e-5, atol=1e-6)


def test_distance_correlation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--up-to", "1024", "--naive-up-to", "1024"]
    monkeypatch.setattr(sys, "argv", ["distance_correlation.py", *options])
    distance_correlation.main()
    *_, line = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[0] == "1,024"
    assert re.fullmatch(r"\d+\.\d+", cells[1])
    assert float(cells[-1]) < 1e-5


def test_jet_samples_times_what_a_block_of_events_takes() -> None:
    assert all(callable(getattr(block, name)) for name in jet_samples.STAGES)
    spent: dict[str, float] = {}
    timed = jet_samples.timed(max, "largest", spent)
    assert timed(3, 4) == 4
    assert spent["largest"] >= 0.0
