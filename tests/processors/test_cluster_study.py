from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uproot

from hepcalib import bundles, calibration, hists, metrics, ntuples, run
from hepcalib.processors import ClusterStudy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

METHODS = ("BNN", "Other net")


@pytest.fixture
def studied(tmp_path: Path, bundle: Write, cluster_file: Write) -> tuple[dict[str, Any], Any, Any]:
    """Histograms and columns of a study of 60 clusters, 3 of them without a response."""
    paths: dict[str, Any] = {m: bundle(tmp_path / m, model="cluster_response") for m in METHODS}
    energy = np.geomspace(1.0, 90.0, 60)
    true = energy / np.resize(np.geomspace(0.1, 10.0, 13), 60)
    energy[[3, 21]], true[50] = (0.0, -1.0), -1.0
    file = cluster_file(tmp_path / "c.root", clusterE=energy, cluster_ENG_CALIB_TOT=true)
    folder = tmp_path / "columns"
    processor = ClusterStudy(**paths, stride=1, columns=str(folder))
    dataset = run.scan_dataset("given", [file], "cluster_tree")
    result = run.process(processor, [dataset], chunk_size=20)
    assert result.ledger.ok, result.ledger.complaint()
    merged = tmp_path / "merged.root"
    assert ntuples.merge_parts(folder / "given", merged) == 60
    with uproot.open(merged) as opened:
        columns = opened["columns"].arrays(library="np")
    spec = bundles.load(paths["BNN"]).spec
    return dict(result.output), columns, spec


def test_the_columns_cover_the_truth_as_often_as_the_histograms_say(
    studied: tuple[dict[str, Any], Any, Any],
) -> None:
    output, columns, _ = studied
    known = (columns["energy"] > 0) & (columns["true_energy"] > 0)
    assert known.sum() == 57
    response = columns["energy"][known].astype(float) / columns["true_energy"][known]
    weight = columns["weight"][known]
    profile = metrics.coverage_profile(output["coverage_mu"])
    for method, key in zip(METHODS, ("bnn", "other_net"), strict=True):
        low, high = (columns[f"interval_{end}_{key}"][known] for end in ("low", "high"))
        inside = (response >= low) & (response <= high)
        assert 0 < inside.sum() < 57
        expected = weight[inside].sum() / weight.sum()
        assert profile[method].overall == pytest.approx(expected, rel=1e-9)
        shrunk = (response >= (low + high) / 2) & (response <= high)
        assert weight[shrunk].sum() / weight.sum() != pytest.approx(expected, rel=1e-3)


def test_the_columns_give_the_pulls(studied: tuple[dict[str, Any], Any, Any]) -> None:
    output, columns, spec = studied
    known = (columns["energy"] > 0) & (columns["true_energy"] > 0)
    measured, true = (columns[n][known].astype(float) for n in ("energy", "true_energy"))
    target = calibration.target(measured, true, spec.target)
    pull = (columns["target_mean_bnn"][known] - target) / columns["target_sigma_tot_bnn"][known]
    expected = hists.pull()
    hists.fill_pull(expected, kind="total", pull=pull, weight=columns["weight"][known])
    histograms: list[Any] = [output["pull_bnn"], expected]
    found, wanted = (h["pull", :].values(flow=True) for h in histograms)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_clusters_without_a_response_keep_their_row(
    studied: tuple[dict[str, Any], Any, Any],
) -> None:
    _, columns, _ = studied
    known = (columns["energy"] > 0) & (columns["true_energy"] > 0)
    assert {"run", "event", "index", "weight", "energy", "true_energy"} < set(columns)
    for key in ("bnn", "other_net"):
        for name in ("energy_calibrated", "energy_sigma_tot", "response", "target_mean"):
            assert np.array_equal(np.isfinite(columns[f"{name}_{key}"]), known)
        assert not columns[f"in_range_{key}"][~known].any()
