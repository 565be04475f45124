"""The sample against the numbers published for it (7.4e5 clusters after the cuts)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from hepcalib.samples import cluster_response, response_density, topoclusters

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.samples.response_density import ResponseDensity

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

PUBLISHED_CLUSTERS = 740_000
BATCHES = 30
MAX_PULL = 4.5  # about 150 numbers are compared, the errors are known to 13 %

# E_dep: EM median, resolution; LCW linearity, resolution; oracle median; oracle log-mode
TABLE = {
    (0.3, 0.5): (1.517, 0.366, +0.879, 0.397, +0.104, 0.262, +0.050, 0.312),
    (0.5, 1): (1.277, 0.306, +0.570, 0.331, +0.004, 0.268, +0.038, 0.284),
    (1, 2): (1.099, 0.252, +0.317, 0.263, -0.007, 0.247, +0.025, 0.242),
    (2, 5): (0.980, 0.221, +0.141, 0.214, -0.012, 0.213, +0.007, 0.209),
    (5, 10): (0.920, 0.200, +0.053, 0.183, -0.016, 0.182, -0.005, 0.180),
    (10, 20): (0.901, 0.183, +0.017, 0.163, -0.018, 0.161, -0.011, 0.160),
    (20, 50): (0.897, 0.165, -0.003, 0.146, -0.017, 0.139, -0.013, 0.138),
    (50, 100): (0.904, 0.151, -0.010, 0.133, -0.016, 0.124, -0.012, 0.124),
    (200, 500): (0.925, 0.130, -0.012, 0.116, -0.011, 0.105, -0.009, 0.106),
}


class Sample(NamedTuple):
    columns: dict[str, NDArray[Any]]
    mixture: ResponseDensity
    response: Array
    true_energy: Array

    def column(self, name: str) -> Array:
        return self.columns[name].astype(np.float64)

    def pull(
        self,
        statistic: Callable[[Rows], float],
        published: float,
        *,
        rows: NDArray[np.bool_] | None = None,
        rounding: float,
    ) -> float:
        """Deviation beyond the rounding, over the sampling errors of both (from batches)."""
        chosen = np.arange(len(self.response)) if rows is None else np.flatnonzero(rows)
        found = [statistic(batch) for batch in np.array_split(chosen, BATCHES)]
        error = np.std(found, ddof=1) / math.sqrt(BATCHES)
        error *= math.sqrt(1 + len(self.response) / PUBLISHED_CLUSTERS)
        deviation = abs(statistic(chosen) - published) - rounding
        return float(max(0.0, deviation) / error)


@pytest.fixture(
    scope="module",
    params=[150_000, pytest.param(1_000_000, marks=pytest.mark.validation)],
)
def sample(request: pytest.FixtureRequest) -> Sample:
    columns = topoclusters.simulate(request.param, seed=11)
    true_energy = columns["cluster_ENG_CALIB_TOT"].astype(np.float64)
    response = columns["clusterE"] / true_energy
    return Sample(columns, cluster_response.density(columns), response, true_energy)


def between(values: Array, low: float, high: float) -> NDArray[np.bool_]:
    return (values >= low) & (values < high)


def median_of(values: Array) -> Callable[[Rows], float]:
    return lambda rows: float(np.median(values[rows]))


def mean_of(values: Array | NDArray[np.bool_]) -> Callable[[Rows], float]:
    return lambda rows: float(np.mean(values[rows]))


def resolution_of(values: Array) -> Callable[[Rows], float]:
    def resolution(rows: Rows) -> float:
        low, middle, high = np.quantile(values[rows], [0.16, 0.5, 0.84])
        return float((high - low) / (2 * middle))

    return resolution


def table_pulls(sample: Sample, response: Array) -> list[float]:
    oracle = sample.column("cluster_ORACLE_RESPONSE")
    ratios = (
        (response, 0.0),
        (response * sample.column("cluster_HAD_WEIGHT"), 1.0),
        (response / oracle, 1.0),
        (response / response_density.log_mode(sample.mixture), 1.0),
    )
    pulls = []
    for (low, high), numbers in TABLE.items():
        rows = between(sample.true_energy, low, high)
        for (ratio, nominal), centre, width in zip(
            ratios, numbers[::2], numbers[1::2], strict=True
        ):
            for statistic, number in (
                (median_of(ratio), centre + nominal),
                (resolution_of(ratio), width),
            ):
                pulls.append(sample.pull(statistic, number, rows=rows, rounding=5e-4))
    return pulls


@pytest.mark.parametrize(
    ("branch", "logarithm", "mean", "deviation", "rounding"),
    [
        ("clusterE", True, 0.58, 0.66, 5e-3),
        ("cluster_SIGNIFICANCE", True, 0.85, 0.48, 5e-3),
        ("cluster_CENTER_LAMBDA", True, 2.46, 0.42, 5e-3),
        ("cluster_FIRST_ENG_DENS", True, -6.29, 0.65, 5e-3),
        ("cluster_CENTER_MAG", False, 2947, 1200, 0.5),
        ("nPrimVtx", False, 20.6, 8.7, 0.05),
        ("avgMu", False, 34.5, 14.2, 0.05),
    ],
)
def test_inputs_have_the_published_means_and_deviations(
    sample: Sample, branch: str, *, logarithm: bool, mean: float, deviation: float, rounding: float
) -> None:
    x = np.log10(sample.column(branch)) if logarithm else sample.column(branch)
    assert sample.pull(mean_of(x), mean, rounding=rounding) < MAX_PULL
    pull = sample.pull(lambda rows: float(x[rows].std()), deviation, rounding=rounding)
    assert pull < MAX_PULL


def test_table_of_scales_in_bins_of_the_true_energy(sample: Sample) -> None:
    pulls = table_pulls(sample, sample.response)
    assert len(pulls) == 72
    assert max(pulls) < MAX_PULL
    assert max(table_pulls(sample, 1.03 * sample.response)) > 2 * MAX_PULL


@pytest.mark.parametrize(
    ("branch", "low", "high", "expected"),
    [
        ("avgMu", 0, 15, (0.949, 0.215, 0.175)),
        ("avgMu", 15, 30, (0.992, 0.263, 0.189)),
        ("avgMu", 30, 45, (1.025, 0.314, 0.206)),
        ("avgMu", 45, 60, (1.063, 0.381, 0.234)),
        ("avgMu", 60, 80, (1.129, 0.479, 0.279)),
        ("nPrimVtx", 1, 10, (None, 0.216, 0.177)),
        ("nPrimVtx", 10, 20, (None, 0.265, 0.191)),
        ("nPrimVtx", 20, 30, (None, 0.328, 0.210)),
        ("nPrimVtx", 30, 45, (None, 0.423, 0.252)),
    ],
)
def test_scales_in_bins_of_the_pile_up(
    sample: Sample,
    branch: str,
    low: float,
    high: float,
    expected: tuple[float | None, float, float],
) -> None:
    em_median, em, oracle = expected
    rows = between(sample.column(branch), low, high)
    calibrated = sample.response / sample.column("cluster_ORACLE_RESPONSE")
    numbers = [(resolution_of(sample.response), em), (resolution_of(calibrated), oracle)]
    if em_median is not None:
        numbers.append((median_of(sample.response), em_median))
    for statistic, number in numbers:
        assert sample.pull(statistic, number, rows=rows, rounding=5e-4) < MAX_PULL


@pytest.mark.parametrize(
    ("mu", "energy", "numbers"),
    [
        ((0, 15), (0.3, 0.5), (1.19, 1.15)),
        ((0, 15), (1, 2), (0.92, 1.04)),
        ((0, 15), (2, 5), (0.84, 1.00)),
        ((0, 15), (5, 20), (0.83, 0.98)),
        ((0, 15), (100, math.inf), (0.90, 0.97)),
        ((60, 80), (0.3, 0.5), (2.22, 2.17)),
        ((60, 80), (1, 2), (1.34, 1.40)),
        ((60, 80), (2, 5), (1.06, 1.18)),
        ((60, 80), (5, 20), (0.92, 1.04)),
        ((60, 80), (100, math.inf), (0.89, 0.98)),
    ],
)
def test_hadronic_clusters_measure_low_and_pile_up_lifts_soft_ones(
    sample: Sample,
    mu: tuple[float, float],
    energy: tuple[float, float],
    numbers: tuple[float, float],
) -> None:
    y, f = np.abs(sample.column("clusterEta")), sample.column("cluster_ENG_FRAC_EM")
    rows = between(sample.column("avgMu"), *mu) & between(sample.true_energy, *energy)
    rows &= ~between(y, 1.2, 1.6)
    compact = sample.column("cluster_FIRST_ENG_DENS") > 10**-5.8
    for chosen, number in zip((f < 0.5, (f > 0.9) & compact), numbers, strict=True):
        statistic = median_of(sample.response)
        assert sample.pull(statistic, number, rows=rows & chosen, rounding=5e-3) < MAX_PULL


def test_slice_hides_its_showers_and_makes_the_second_maximum(sample: Sample) -> None:
    inside = between(np.abs(sample.column("clusterEta")), 1.2, 1.6)
    calibrated = sample.response / sample.column("cluster_ORACLE_RESPONSE")
    width = math.log(10.0) * response_density.sigma_log10(sample.mixture)
    relative = response_density.standard_deviation(sample.mixture)
    relative /= response_density.mean(sample.mixture)
    for flag, number, rows, rounding in (
        (inside, 0.14, None, 5e-3),
        (width > 0.58, 0.12, None, 5e-3),
        (inside, 0.97, width > 0.58, 5e-3),
        (relative > 0.6, 0.088, None, 5e-4),
    ):
        assert sample.pull(mean_of(flag), number, rows=rows, rounding=rounding) < MAX_PULL
    assert inside[relative > 0.6].mean() > 0.999
    for statistic, number in (
        (median_of(sample.response), 0.871),
        (resolution_of(sample.response), 0.660),
        (resolution_of(calibrated), 0.585),
    ):
        assert sample.pull(statistic, number, rows=inside, rounding=5e-4) < MAX_PULL
    energetic = sample.column("clusterE") > 5
    f, log = sample.column("cluster_ENG_FRAC_EM"), np.log(sample.response)

    def correlation(rows: Rows) -> float:
        return float(np.corrcoef(f[rows], log[rows])[0, 1])

    for chosen, number in ((inside, 0.0), (~inside, 0.25)):
        assert sample.pull(correlation, number, rows=energetic & chosen, rounding=5e-3) < MAX_PULL
    heights, edges = np.histogram(width, np.arange(0.04, 1.0, 0.04))
    centres = (edges[1:] + edges[:-1]) / 2
    low, valley, high = centres < 0.4, between(centres, 0.4, 0.6), centres > 0.6
    assert centres[low][heights[low].argmax()] == pytest.approx(0.16, abs=0.045)
    assert centres[valley][heights[valley].argmin()] == pytest.approx(0.52, abs=0.045)
    assert centres[high][heights[high].argmax()] == pytest.approx(0.64, abs=0.045)


def test_widths_and_tails(sample: Sample) -> None:
    sigma = response_density.sigma_log10(sample.mixture)
    median = sample.column("cluster_ORACLE_RESPONSE")
    mean_ratio = response_density.mean(sample.mixture) / median
    mode_ratio = response_density.mode(sample.mixture) / median
    for low, high, number in ((0.3, 1, 0.16), (1, 5, 0.02)):
        rows = between(sample.true_energy, low, high)
        large = mean_of(sample.response > 2)
        assert sample.pull(large, number, rows=rows, rounding=5e-3) < MAX_PULL
    assert sample.pull(mean_of(sigma), 0.1166, rounding=5e-5) < MAX_PULL
    assert sample.pull(median_of(sigma), 0.0907, rounding=5e-5) < MAX_PULL
    log10 = np.log10(sample.response)

    def one_gaussian(batch: Rows) -> float:
        return 0.5 * math.log(2 * math.pi * math.e * float(np.var(log10[batch])))

    assert sample.pull(one_gaussian, -0.405, rounding=5e-4) < MAX_PULL
    assert np.quantile(mean_ratio, [0.05, 0.95]) == pytest.approx([1.003, 1.22], abs=6e-3)
    assert np.quantile(mode_ratio, [0.05, 0.95]) == pytest.approx([0.66, 0.99], abs=6e-3)


def test_share_of_clusters_with_two_maxima(sample: Sample) -> None:
    some = sample.mixture.select(slice(0, 60_000))
    place = np.linspace(0.0, 1.0, 150)[:, None]  # every maximum lies between the two means
    x = some.m1 + place * (some.m2 - some.m1)
    (p1, m1, s1), (p2, m2, s2) = some.components
    height = p1 / s1 * np.exp(-0.5 * ((x - m1) / s1) ** 2)
    height += p2 / s2 * np.exp(-0.5 * ((x - m2) / s2) ** 2)
    falls = np.diff(height, axis=0) < 0
    bimodal = np.asarray(np.any(~falls[1:] & falls[:-1], axis=0))
    rows = np.arange(len(sample.response)) < len(some.m1)
    assert sample.pull(mean_of(bimodal), 0.067, rows=rows, rounding=5e-4) < MAX_PULL


@pytest.mark.parametrize(
    ("low", "high", "lost", "rounding"),
    [(0.3, 0.5, 0.44, 5e-3), (0.5, 1, 0.14, 5e-3), (1, 2, 0.022, 5e-4), (2, 3, 0.0014, 5e-5)],
)
def test_truncation_matters_at_low_energy_only(
    sample: Sample, low: float, high: float, lost: float, rounding: float
) -> None:
    outside = 1 - response_density.probability(sample.mixture)
    rows = between(sample.column("clusterE"), low, high)
    assert sample.pull(mean_of(outside), lost, rows=rows, rounding=rounding) < MAX_PULL


def test_oracle_median_closes_in_the_calibrated_energy_and_not_in_the_true_one(
    sample: Sample,
) -> None:
    calibrated = sample.column("clusterE") / sample.column("cluster_ORACLE_RESPONSE")
    ratio = calibrated / sample.true_energy
    for low, high in ((0.4, 1), (1, 3), (3, 10), (10, 30), (30, 100), (100, 500)):
        rows = between(calibrated, low, high)
        assert sample.pull(median_of(ratio), 1.0, rows=rows, rounding=0.0) < MAX_PULL
    rows = between(sample.true_energy, 10, 20)
    assert sample.pull(median_of(ratio), 1.0, rows=rows, rounding=0.0) > 2 * MAX_PULL
