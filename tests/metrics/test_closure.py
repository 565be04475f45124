from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.hists.closure import closure as closure_histogram
from hepcalib.hists.closure import fill_closure
from hepcalib.metrics.closure import Closure, closure, closures, paired_shift, shift
from hepcalib.samples.gaussian import (
    GaussianProblem,
    simulate_exponential,
    simulate_gaussian,
)

ROWS = 60_000
EDGES = np.array([1.0, 10.0, 100.0, 1000.0])


def lognormal(width: float = 0.2, *, seed: int = 1, rows: int = ROWS) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    true = 10.0 ** random.uniform(0.0, 3.0, rows)
    return true, true * np.exp(width * random.normal(size=rows))


def deviations(found: Closure, quantity: str, expected: float) -> np.ndarray:
    values, errors = getattr(found, quantity), getattr(found, f"{quantity}_error")
    return np.asarray((values - expected) / errors)


def histogram_of(
    true: np.ndarray, calibrated: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, Closure]:
    histogram = closure_histogram(["A"])
    fill_closure(histogram, method="A", true=true, calibrated=calibrated, weight=weight)
    return closures(histogram, edges=EDGES)


@pytest.mark.parametrize("source", ["rows", "histogram"])
def test_locations_of_a_lognormal(source: str) -> None:
    true, calibrated = lognormal()
    if source == "rows":
        found = closure(true, calibrated, edges=EDGES)
    else:
        found = histogram_of(true, calibrated)["A"]
    s = 0.2
    for quantity, expected in (
        ("mean", np.exp(0.5 * s**2)),
        ("median", 1.0),
        ("width", np.sinh(s)),
    ):
        assert np.all(np.abs(deviations(found, quantity, float(expected))) < 5)
    # A mode has a standard deviation of 0.6 of the kernel's h = 0.2 n^(-1/5).
    assert found.mode == pytest.approx(np.exp(-(s**2)), abs=4 * 0.6 * s * (ROWS / 3) ** -0.2)
    assert np.all(np.abs(deviations(found, "median", float(np.exp(0.5 * s**2)))) > 5)
    assert found.entries.sum() == pytest.approx(ROWS, rel=0.02)
    expected_error = 1.2533 * s / np.sqrt(found.entries)
    assert found.median_error == pytest.approx(expected_error, rel=0.7)  # 20 replicas: to 16 %


def test_tails_are_counted() -> None:
    true, calibrated = lognormal()
    far = np.arange(ROWS) % 50 == 0
    calibrated[far] = 5.0 * true[far]
    found = closure(true, calibrated, edges=EDGES)
    normal = closure(*lognormal(), edges=EDGES)
    assert found.tails - normal.tails == pytest.approx(0.02, abs=4 * (0.02 / ROWS * 3) ** 0.5)


def test_truth_bins_do_not_depend_on_the_spectrum_and_reco_bins_do() -> None:
    """V17: unbiased measurements of a falling spectrum."""
    found = simulate_exponential(50.0, 10.0, 10 * ROWS, seed=3)
    rows = (found.true > 60.0) | (found.measured > 60.0)
    true, measured = found.true[rows], found.measured[rows]
    edges = np.array([80.0, 90.0])
    truth = closure(true, measured, edges=edges)
    reco = closure(true, measured, edges=edges, binned_in="reco")
    assert reco.binned_in == "reco"
    assert abs(deviations(truth, "mean", 1.0)[0]) < 4
    assert abs(deviations(reco, "mean", 1.0)[0]) > 6
    assert abs((reco.mean[0] - 1.0) * 85.0 + 2.0) < 4 * 85.0 * reco.mean_error[0] + 0.1


@pytest.mark.parametrize("spectrum", ["uniform", "log_uniform", "softer"])
def test_reweighted_histograms(spectrum: str) -> None:
    """A calibration that closes in truth bins does so for each spectrum; in reco bins it moves."""
    random = np.random.default_rng(4)
    true = 0.3 / (1.0 - random.uniform(0.0, 0.999, ROWS))
    calibrated = true * np.exp(0.3 * random.normal(size=ROWS))
    histogram = closure_histogram(["A"])
    fill_closure(histogram, method="A", true=true, calibrated=calibrated)
    edges = np.array([1.0, 5.0, 20.0])
    for binned_in, moves in (("truth", False), ("reco", True)):
        before, after = (
            closures(histogram, edges=edges, binned_in=binned_in, spectrum=name)["A"]  # type: ignore[arg-type]  # names of a loop
            for name in ("nominal", spectrum)
        )
        moved = shift(before, after)
        assert (np.abs(moved.shift / moved.error).max() > 4) == moves


def runaways(share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A skewed response with a bias that falls with the truth, some rows far too large or small."""
    random = np.random.default_rng(seed)
    true = 0.4 / (1.0 - random.uniform(0.0, 0.995, ROWS))
    calibrated = true * np.exp(0.3 * random.gumbel(size=ROWS) - 0.1 / true)
    far = random.uniform(size=ROWS) < share
    calibrated[far] *= 10.0 ** random.uniform(2.0, 8.0, far.sum())
    gone = random.uniform(size=ROWS) < 0.3 * share
    calibrated[gone] *= 1e-9  # below the axis of the ratio
    return true, calibrated


@pytest.mark.parametrize("share", [0.0, 0.06])
@pytest.mark.parametrize("binned_in", ["truth", "reco"])
def test_histogram_equals_rows(share: float, binned_in: Literal["truth", "reco"]) -> None:
    """With the same bins and rows, what is left is how a bin of 1.5 % is divided."""
    true, calibrated = runaways(share, seed=11)
    edges = np.array([0.5, 1.0, 2.0, 5.0, 20.0])
    rows = closure(true, calibrated, edges=edges, binned_in=binned_in)
    histogram = closure_histogram(["A"])
    fill_closure(histogram, method="A", true=true, calibrated=calibrated)
    binned = closures(histogram, edges=edges, binned_in=binned_in)["A"]
    # A row counts as the centre of its bin: 1.5 % / sqrt(12) for one, and less for many.
    assert binned.median == pytest.approx(rows.median, rel=0.003)
    assert binned.width == pytest.approx(rows.width, rel=0.012)
    reweighted = {"truth": 0.003, "reco": 0.03}[binned_in]  # of a bin whose edges divide cells
    assert binned.entries == pytest.approx(rows.entries, rel=reweighted)
    assert binned.outside == pytest.approx(rows.outside, abs=0.003)
    if binned_in == "truth":
        # Of the others, a share of 5e-5 is as far away by itself.
        error = np.sqrt((1.3 * share + 5e-5) / rows.entries)
        assert np.all(np.abs(binned.outside - 1.3 * share) <= 5e-5 + 4 * error)
        assert binned.mode == pytest.approx(rows.mode, rel=0.01)


def test_what_has_run_away_is_not_dropped() -> None:
    """Control: medians of the rows within a factor 20 alone look far better than they are."""
    true, calibrated = runaways(0.3, seed=12)
    edges = np.array([1.0, 5.0, 20.0])
    histogram = closure_histogram(["A"])
    fill_closure(histogram, method="A", true=true, calibrated=calibrated)
    found = closures(histogram, edges=edges)["A"]
    kept = (calibrated / true > 0.05) & (calibrated / true < 20.0)
    flattered = closure(true[kept], calibrated[kept], edges=edges)
    everything = closure(true, calibrated, edges=edges)
    assert found.median == pytest.approx(everything.median, rel=0.005)
    assert np.all(np.abs(flattered.median / everything.median - 1.0) > 0.05)
    assert np.all(found.mean > 1e3)


def test_shown_edges_are_the_ends_of_the_bins() -> None:
    """A step of the response at a shown edge: no bin has rows of the other side."""
    random = np.random.default_rng(13)
    true = 10.0 ** random.uniform(0.0, 2.0, ROWS)
    calibrated = true * np.where(true < 10.0, 0.5, 2.0)
    histogram = closure_histogram(["A"])
    fill_closure(histogram, method="A", true=true, calibrated=calibrated)
    edges = np.array([5.0, 10.0, 20.0])
    found = closures(histogram, edges=edges)["A"]
    assert found.median == pytest.approx([0.5, 2.0], rel=0.0076)
    assert found.width == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.mean == pytest.approx([0.5, 2.0], rel=0.0076)


def test_pairs_know_what_the_calibrations_share() -> None:
    true, calibrated = lognormal()
    other = calibrated * 1.002
    paired = paired_shift(true, (calibrated, other), edges=EDGES)
    assert paired.shift == pytest.approx(0.002, abs=1e-9)
    assert np.all(paired.error < 1e-12)
    alone = shift(closure(true, calibrated, edges=EDGES), closure(true, other, edges=EDGES))
    assert alone.shift == pytest.approx(0.002, abs=1e-9)
    assert np.all(alone.error > 1e-3)
    assert alone.chi2 < 25.0


def test_pair_errors_are_those_of_independent_noise() -> None:
    true, calibrated = lognormal()
    noisy = calibrated * np.exp(0.05 * np.random.default_rng(6).normal(size=ROWS))
    paired = paired_shift(true, (calibrated, noisy), edges=EDGES, statistic="mean")
    shared = np.exp(0.5 * 0.05**2) - 1.0
    assert np.all(np.abs(paired.shift - shared) < 5 * paired.error)
    assert paired.bins == 3
    assert np.all(paired.error < 0.1 / np.sqrt(ROWS / 3))
    broken = paired_shift(true, (calibrated, 1.01 * noisy), edges=EDGES, statistic="mean")
    assert np.all(np.abs(broken.shift - shared) > 10 * broken.error)
    assert broken.chi2 > 100.0 * broken.bins


def test_regression_moves_with_its_spectrum_by_the_closed_form() -> None:
    """V15 through the harness, on truths around 20: MSE moves, the likelihood stays."""
    test = simulate_gaussian(GaussianProblem(mean=20.0), ROWS, seed=7)
    edges = np.array([19.0, 20.0, 21.0])
    nominal, other = (GaussianProblem(mean=mean) for mean in (20.0, 20.5))
    moved = paired_shift(
        test.true,
        (nominal.posterior_mean(test.measured), other.posterior_mean(test.measured)),
        edges=edges,
        statistic="mean",
    )
    closed_form = (1.0 - nominal.slope) * 0.5
    assert moved.shift == pytest.approx(closed_form / 20.0, rel=0.02)
    stays = paired_shift(test.true, (test.measured, test.measured), edges=edges, statistic="mean")
    assert np.all(stays.shift == 0.0)
    assert (stays.chi2, stays.bins) == (0.0, 0)


def test_empty_bins_are_nan() -> None:
    found = closure([2.0, 3.0], [2.0, 3.0], edges=EDGES)
    assert np.isnan(found.median).all()
    empty = closures(closure_histogram(["A"]), edges=EDGES)["A"]
    assert np.isnan(empty.mode).all()
    moved = shift(empty, empty)
    assert (moved.chi2, moved.bins) == (0.0, 0)


def test_impossible_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 truths are not positive, the first is 0\.0 in row 1"):
        closure([1.0, 0.0], [1.0, 1.0], edges=EDGES)
    with pytest.raises(ShapeError, match=r"true \(2,\), calibrated \(1,\)"):
        closure([1.0, 2.0], [1.0], edges=EDGES)
    found = closure([2.0, 3.0], [2.0, 3.0], edges=EDGES)
    with pytest.raises(ConfigError, match="unknown statistic 'modus'"):
        shift(found, found, statistic="modus")
    with pytest.raises(ShapeError, match="closures of 3 and 1 bins"):
        shift(found, closure([2.0], [2.0], edges=[1.0, 2.0]))
