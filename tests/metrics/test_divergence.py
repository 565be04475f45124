from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib import metrics
from hepcalib.exceptions import ConfigError
from hepcalib.metrics import Counts

BINS = 50
FALLING = np.exp(-np.arange(BINS) / 25.0)
FALLING /= FALLING.sum()
TILTED = FALLING * (1.0 + 0.3 * np.sin(np.arange(BINS) / 6.0))
TILTED /= TILTED.sum()
FLOOR = 1.964e-3  # bits, of 5000 and 45,000 jets in 50 bins


def plain(values: Any) -> Counts:
    return Counts(np.asarray(values, dtype=float), np.asarray(values, dtype=float))


def test_nats_are_bits_times_the_logarithm_of_two() -> None:
    samples = plain([4.0, 1.0, 7.0]), plain([9.0, 9.0, 2.0])
    bits, nats = (metrics.jsd(*samples, base=base) for base in ("bits", "nats"))
    for name in ("jsd", "jsd_error", "limit"):
        assert getattr(nats, name) == pytest.approx(np.log(2.0) * getattr(bits, name))
    for name in ("one_over", "one_over_error", "one_over_limit"):
        assert getattr(nats, name) == pytest.approx(getattr(bits, name) / np.log(2.0))


def test_against_inclusive_of_disjoint_samples() -> None:
    # A quarter passes: P = (1, 0), all = (1/4, 3/4), Q = (5/8, 3/8).
    found = metrics.jsd(plain([10.0, 0.0]), plain([0.0, 30.0]), against="inclusive")
    exact = 0.5 * np.log2(1 / 0.625) + 0.5 * (
        0.25 * np.log2(0.25 / 0.625) + 0.75 * np.log2(0.75 / 0.375)
    )
    assert found.jsd == pytest.approx(exact, rel=1e-12)
    same = metrics.jsd(plain([1.0, 3.0]), plain([5.0, 15.0]), against="inclusive")
    assert same.jsd == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("spectrum", [FALLING, TILTED], ids=["independent", "sculpted"])
def test_limit_and_error_against_inclusive_are_those_of_trials(spectrum: Any) -> None:
    rng = np.random.default_rng(71)
    trials, found = 250, []
    for _ in range(trials):
        passing = rng.binomial(40_000, 0.4)
        passed, failed = (
            plain(rng.multinomial(passing, spectrum)),
            plain(rng.multinomial(40_000 - passing, FALLING)),
        )
        found.append(metrics.jsd(passed, failed, against="inclusive"))
    values = np.array([one.jsd for one in found])
    # A sample standard deviation is known to 1 / sqrt(2 trials); 10 % for higher orders.
    error = float(np.mean([one.jsd_error for one in found]))
    assert error == pytest.approx(values.std(), rel=4.0 / np.sqrt(2 * trials) + 0.1)
    limit, reach = found[0].limit, 4.0 * values.std() / np.sqrt(trials)
    if spectrum is FALLING:
        assert values.mean() == pytest.approx(limit, abs=reach + 0.02 * limit)
    else:
        assert values.mean() > limit + reach


def test_band_is_where_independent_samples_are() -> None:
    rng = np.random.default_rng(72)
    band = metrics.jsd_band(plain(5000 * FALLING), plain(45_000 * FALLING), replicas=2000)
    spread = FLOOR * np.sqrt(2.0 / (BINS - 1))  # of L chi^2 / (B - 1)
    assert band.mean == pytest.approx(FLOOR, abs=4.0 * spread / np.sqrt(2000) + 0.02 * FLOOR)
    assert band.high - band.low == pytest.approx(2.0 * spread, rel=0.12)
    assert band.one_over_low < band.one_over < band.one_over_high
    assert band.one_over == pytest.approx(1.0 / band.mean)
    trials, inside = 300, 0
    for _ in range(trials):
        parts = plain(rng.multinomial(5000, FALLING)), plain(rng.multinomial(45_000, FALLING))
        inside += band.low < metrics.jsd(*parts).jsd < band.high
    assert inside / trials == pytest.approx(0.6827, abs=4.0 * np.sqrt(0.22 / trials) + 0.02)
    sculpted = plain(rng.multinomial(5000, TILTED)), plain(rng.multinomial(45_000, FALLING))
    assert metrics.jsd(*sculpted).jsd > band.high + 5.0 * (band.high - band.low)


def test_band_knows_weights_that_depend_on_the_mass() -> None:
    rng = np.random.default_rng(73)
    weight = np.where(np.arange(BINS) < 10, 10.0, 0.1)
    trials, found, last = 200, [], (plain([0.0]), plain([0.0]))
    for _ in range(trials):
        drawn = rng.multinomial(3000, FALLING), rng.multinomial(27_000, FALLING)
        last = (
            Counts(np.asarray(drawn[0] * weight), np.asarray(drawn[0] * weight**2)),
            Counts(np.asarray(drawn[1] * weight), np.asarray(drawn[1] * weight**2)),
        )
        found.append(metrics.jsd(*last).jsd)
    band = metrics.jsd_band(*last, replicas=1000)
    width = float(np.std(found))
    reach = 4.0 * width * np.sqrt(1 / trials + 1 / 1000)
    # The replicas have the fluctuations of one sample for the truth.
    assert band.mean == pytest.approx(np.mean(found), abs=reach + 0.05 * band.mean)
    assert metrics.jsd_limit(*last) > 2.0 * band.mean


def test_band_depends_on_its_seed_only() -> None:
    parts = plain(100 * FALLING), plain(900 * FALLING)
    assert metrics.jsd_band(*parts, seed=3) == metrics.jsd_band(*parts, seed=3)
    assert metrics.jsd_band(*parts, seed=3) != metrics.jsd_band(*parts, seed=4)


@pytest.mark.parametrize("passed", [[0.0, 0.0], [1.0, -2.0]])
def test_without_entries_there_is_no_band(passed: list[float]) -> None:
    empty = Counts(np.array(passed), np.abs(passed))
    assert np.isnan(metrics.jsd_band(empty, plain([1.0, 2.0]))).all()


@pytest.mark.parametrize("options", [{"base": "bit"}, {"against": "failing"}])
def test_unknown_conventions_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"unknown convention .* Did you mean"):
        metrics.jsd(plain([1.0]), plain([1.0]), **options)
    with pytest.raises(ConfigError, match="unknown convention"):
        metrics.jsd_band(plain([1.0]), plain([1.0]), **options)


def spread_of_rows(n: int, leak: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return score and mass of a background, of which a score above 0 passes: about 4 % does."""
    mass = 50.0 + rng.exponential(60.0, n)
    score = rng.normal(-1.9, 1.0, n) + leak * np.exp(-0.5 * ((mass - 80.0) / 15.0) ** 2)
    return score, mass


def divergence_of_rows(score: Any, mass: Any) -> metrics.Jsd:
    edges = np.linspace(50.0, 300.0, 51)
    spectra = (np.histogram(mass[rows], edges)[0] * 1.0 for rows in (score > 0.0, score <= 0.0))
    return metrics.jsd(*(Counts(n, n) for n in spectra))


@pytest.mark.parametrize(("leak", "rows"), [(0.0, 10_000), (0.4, 10_000), (0.8, 20_000)])
def test_errors_are_the_spread_over_samples_and_a_plain_bootstrap_is_not(
    leak: float, rows: int
) -> None:
    rng, trials = np.random.default_rng(95), 200
    found = [divergence_of_rows(*spread_of_rows(rows, leak, rng)) for _ in range(trials)]
    value, inverse = (np.array([getattr(one, key) for one in found]) for key in ("jsd", "one_over"))
    quantiles = np.percentile(inverse, [15.865525, 84.134475])
    truth = {"jsd": value.std(ddof=1), "one_over": 0.5 * (quantiles[1] - quantiles[0])}
    for key, expected in truth.items():
        errors = np.mean([getattr(one, f"{key}_error") for one in found])
        # Of the trials (a quantile's error is 1.24 / sqrt(n) of the width), of the replicas, and
        # of those samples with more than the limit, which could have a divergence of their own.
        own = 1.0 / np.sqrt(2 * trials) if key == "jsd" else 1.24 / np.sqrt(trials)
        allowed = 4.0 * np.hypot(own, 1.0 / np.sqrt(2 * 300)) + 0.08
        assert errors == pytest.approx(expected, rel=allowed)
    score, mass = spread_of_rows(rows, leak, rng)
    again = []
    for _ in range(100):
        chosen = rng.integers(0, rows, rows)
        again.append(divergence_of_rows(score[chosen], mass[chosen]))
    bootstrap = np.std([one.one_over for one in again], ddof=1)
    if leak == 0.0:  # it has the noise twice
        assert bootstrap < 0.65 * truth["one_over"]
