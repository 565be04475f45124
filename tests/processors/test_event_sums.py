from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import ntuples, run
from hepcalib.processors import ClusterStudy
from hepcalib.processors.event_sums import VARIABLES, finish_event_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


@pytest.fixture
def summed(tmp_path: Path, bundle: Write) -> Callable[..., dict[str, Any]]:
    model = bundle(tmp_path / "bundle", model="cluster_response")

    def process(*files: Path, chunk_size: int = 1000) -> dict[str, Any]:
        datasets = [run.scan_dataset(file.stem, [file], "cluster_tree") for file in files]
        result = run.process(ClusterStudy(BNN=model), datasets, chunk_size=chunk_size)
        assert result.ledger.ok
        return {name: result.output[name] for name in VARIABLES}

    return process


def entries(histogram: Any, scale: str) -> float:
    return float(histogram[scale, :, :].sum(flow=True).value)


def test_the_sum_of_each_event_is_that_of_a_loop(
    summed: Callable[..., dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "c.root", cluster_HAD_WEIGHT=None)
    clusters = ntuples.read(path, "cluster_tree")
    numbers = np.asarray(clusters.event)
    output = summed(path)
    histogram = output["response_sum_true_energy"]
    expected = histogram.copy().reset()
    for number in np.unique(numbers):
        own = clusters[numbers == number]
        true, measured = np.sum(own.true_energy), np.sum(own.energy)
        for scale, energy in (
            ("EM", measured),
            ("Best possible", own.energy / own.oracle_response),
        ):
            expected.fill(scale, true, np.sum(energy) / true)
    for scale in ("EM", "Best possible"):
        assert np.array_equal(histogram[scale, :, :].view(), expected[scale, :, :].view())
    assert entries(histogram, "LCW") == 0.0
    assert entries(histogram, "BNN") == entries(histogram, "EM") == len(np.unique(numbers)) > 5


@pytest.mark.parametrize("chunk_size", [1, 7, 20])
def test_events_that_chunks_cut_in_two_are_put_together(
    summed: Callable[..., dict[str, Any]], cluster_file: Write, tmp_path: Path, chunk_size: int
) -> None:
    weight = np.full(60, 0.5)
    files = [cluster_file(tmp_path / f"{name}.root", weight=weight) for name in ("a", "b")]
    whole, cut = summed(*files), summed(*files, chunk_size=chunk_size)
    events = 2 * len(np.unique(np.asarray(ntuples.read(files[0], "cluster_tree").event)))
    for name in VARIABLES:
        for scale in ("EM", "LCW", "Best possible"):
            assert entries(cut[name], scale) == pytest.approx(0.5 * events, rel=1e-12)
            assert np.array_equal(cut[name][scale, :, :].view(), whole[name][scale, :, :].view())


def test_an_event_with_an_unknown_energy_is_left_out(
    summed: Callable[..., dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    oracle = np.where(np.arange(60) == 30, np.nan, 0.9)
    path = cluster_file(tmp_path / "c.root", cluster_ORACLE_RESPONSE=oracle)
    histogram = summed(path, chunk_size=7)["response_sum_n_pv"]
    assert entries(histogram, "Best possible") == entries(histogram, "EM") - 1.0


def test_finishing_twice_changes_nothing(
    summed: Callable[..., dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    output = summed(cluster_file(tmp_path / "c.root"))
    again = finish_event_sums(output)
    assert all(np.array_equal(again[name].view(), output[name].view()) for name in VARIABLES)
