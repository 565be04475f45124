from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics

if TYPE_CHECKING:
    from hist import Hist


ROWS = 20_000


def predicted(*, shift: float = 0.0) -> Hist[Any]:
    """Data drawn from a mixture whose means depend on the row, and the mixture, shifted."""
    rng = np.random.default_rng(91)
    filled = hists.density(energies=(1.0, 10.0, 100.0), components=2)
    energy = rng.uniform(1.0, 100.0, ROWS)
    means = np.column_stack([0.002 * (energy - 50.0), 0.3 + 0.0 * energy])
    deviations = np.column_stack([np.full(ROWS, 0.1), np.full(ROWS, 0.15)])
    weights = np.tile([0.8, 0.2], (ROWS, 1))
    which = (rng.random(ROWS) < 0.2).astype(int)
    rows = np.arange(ROWS)
    drawn = rng.normal(means[rows, which], deviations[rows, which])
    hists.fill_density(filled, energy=energy, log_response=drawn)
    for kind, columns in (("predicted", [0, 1]), ("component 1", [0]), ("component 2", [1])):
        p = hists.interval_probabilities(
            filled.axes["log_response"].edges,
            weights=weights[:, columns],
            means=means[:, columns] + shift,
            deviations=deviations[:, columns],
        )
        hists.fill_predicted_density(filled, kind=kind, energy=energy, probabilities=p)
    return filled


def chi2_per_bin(found: metrics.DensityBin) -> tuple[float, int]:
    """Pearson's chi2 of data and prediction over bins with at least 10 expected entries."""
    width = np.diff(found.edges)
    expected = found.predicted * found.entries * width
    used = expected > 10.0
    difference = (found.data - found.predicted) * found.entries * width
    return float((difference[used] ** 2 / expected[used]).sum() / used.sum()), int(used.sum())


def test_the_density_that_the_data_are_drawn_from_describes_them() -> None:
    low, high = metrics.densities(predicted())
    assert (low.low, low.high, high.low, high.high) == (1.0, 10.0, 10.0, 100.0)
    assert low.entries + high.entries == ROWS
    for found in (low, high):
        chi2, bins = chi2_per_bin(found)
        assert abs(chi2 - 1.0) < 4.0 * np.sqrt(2.0 / bins)
        assert abs(found.mean_shift) < 4.0 * found.mean_shift_error
        assert found.predicted @ np.diff(found.edges) == pytest.approx(1.0, abs=1e-3)
        assert np.allclose(sum(found.components.values()), found.predicted, rtol=1e-12)


def test_a_shifted_density_does_not() -> None:
    found = metrics.densities(predicted(shift=0.02))[1]
    chi2, bins = chi2_per_bin(found)
    assert chi2 - 1.0 > 20.0 * np.sqrt(2.0 / bins)
    assert found.mean_shift == pytest.approx(0.02, abs=4.0 * found.mean_shift_error)
    assert found.mean_shift > 10.0 * found.mean_shift_error


def test_bins_without_data_are_left_out_and_without_prediction_are_nan() -> None:
    filled = hists.density(energies=(1.0, 10.0, 100.0), components=1)
    assert metrics.densities(filled) == []
    hists.fill_density(filled, energy=[5.0] * 20, log_response=[0.01] * 20)
    (found,) = metrics.densities(filled)
    assert found.high == 10.0
    assert found.data.max() == pytest.approx(50.0)  # all in one bin of 0.02
    assert np.isnan(found.predicted).all()
    assert np.isnan(found.mean_shift)
    assert not found.components


def transforms(power: float) -> metrics.Pit:
    filled = hists.pit(["BNN"])
    drawn = np.random.default_rng(92).random(ROWS)
    hists.fill_pit(filled, method="BNN", pit=drawn**power)
    return metrics.pits(filled)["BNN"]


def test_uniform_transforms_have_the_moments_of_a_uniform_density() -> None:
    found = transforms(1.0)
    assert abs(found.mean - 0.5) < 4.0 * found.mean_error
    assert abs(found.width - 1.0 / np.sqrt(12.0)) < 4.0 * found.width_error
    assert found.mean_error == pytest.approx(1.0 / np.sqrt(12.0 * ROWS), rel=0.02)
    # (m4 - m2^2) / (4 n m2) with m2 = 1/12, m4 = 1/80.
    assert found.width_error == pytest.approx(np.sqrt(1.0 / 60.0 / ROWS), rel=0.03)
    pull = (found.density - 1.0) / found.density_error
    assert abs((pull**2).mean() - 1.0) < 4.0 * np.sqrt(2.0 / 50.0)


def test_one_entry_in_each_bin_is_uniform_exactly() -> None:
    filled = hists.pit(["BNN"])
    hists.fill_pit(filled, method="BNN", pit=np.arange(0.01, 1.0, 0.02))
    found = metrics.pits(filled)["BNN"]
    assert found.density == pytest.approx(1.0)
    assert found.mean == pytest.approx(0.5)
    assert found.width == pytest.approx(1.0 / np.sqrt(12.0))


def test_transforms_of_a_biased_density_are_seen() -> None:
    found = transforms(1.2)
    assert found.mean == pytest.approx(1.0 / 2.2, abs=4.0 * found.mean_error)
    assert 0.5 - found.mean > 15.0 * found.mean_error


def test_too_few_transforms_are_nan() -> None:
    filled = hists.pit(["BNN"])
    hists.fill_pit(filled, method="BNN", pit=[0.5] * 9)
    found = metrics.pits(filled)["BNN"]
    assert np.isnan([found.mean, found.mean_error, found.width, found.width_error]).all()
    assert np.isnan(found.density).all()
