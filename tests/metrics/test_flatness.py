from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib import metrics
from hepcalib.metrics import Counts

if TYPE_CHECKING:
    from hepcalib.metrics.counts import Floats

BINS = 25
MASSES = np.linspace(52.5, 297.5, BINS)
FALLING = np.exp(-np.arange(BINS) / 15.0)
FALLING /= FALLING.sum()


def drawn(
    rng: np.random.Generator, efficiency: Floats, jets: int = 40_000
) -> tuple[Counts, Counts]:
    everything = rng.multinomial(jets, FALLING)
    passed = rng.binomial(everything, efficiency)
    parts = passed.astype(float), (everything - passed).astype(float)
    return Counts(parts[0], parts[0]), Counts(parts[1], parts[1])


def test_exact_deviation() -> None:
    passed, failed = np.array([20.0, 40.0, 20.0]), np.array([80.0, 60.0, 180.0])
    found = metrics.flatness(Counts(passed, passed), Counts(failed, failed), np.arange(3.0))
    assert found.background_efficiency == pytest.approx(0.2)
    assert found.deviation == pytest.approx(1.0)
    assert (found.at, found.bins) == (1.0, 3)


def test_flat_efficiencies_are_inside_of_the_noise_as_often_as_they_should() -> None:
    rng = np.random.default_rng(81)
    trials = 120
    found = [
        metrics.flatness(*drawn(rng, np.full(BINS, 0.1)), MASSES, replicas=100)
        for _ in range(trials)
    ]
    inside = [one.expected_low < one.deviation < one.expected_high for one in found]
    assert np.mean(inside) == pytest.approx(0.6827, abs=4.0 * np.sqrt(0.22 / trials))
    above = [one.deviation > one.expected for one in found]
    assert np.mean(above) == pytest.approx(0.5, abs=4.0 * np.sqrt(0.25 / trials))


def test_a_bump_is_above_the_noise_with_its_error() -> None:
    rng = np.random.default_rng(82)
    bump = 0.1 * (1.0 + 1.5 * np.exp(-0.5 * ((MASSES - 80.0) / 15.0) ** 2))
    trials = 60
    found = [metrics.flatness(*drawn(rng, bump), MASSES, replicas=100) for _ in range(trials)]
    for one in found:
        assert one.deviation > one.expected + 3.0 * (one.expected_high - one.expected_low)
        assert abs(one.at - 80.0) < 20.0
    spread = float(np.std([one.deviation for one in found]))
    # 20 %: the largest of the replicas is that of another bin at times.
    error = np.mean([one.deviation_error for one in found])
    assert error == pytest.approx(spread, rel=4.0 / np.sqrt(2 * trials) + 0.2)


def test_sparse_bins_do_not_count() -> None:
    passed, failed = np.array([100.0, 100.0, 3.0]), np.array([900.0, 900.0, 0.0])
    parts = Counts(passed, passed), Counts(failed, failed)
    found = metrics.flatness(*parts, np.arange(3.0))
    assert found.bins == 2
    assert found.deviation < 0.02
    assert metrics.flatness(*parts, np.arange(3.0), minimum=0.0).bins == 3


@pytest.mark.parametrize("jets", [0.0, 3.0])
def test_too_few_jets_give_nothing(jets: float) -> None:
    part = Counts(np.array([jets, 0.0]), np.array([jets, 0.0]))
    found = metrics.flatness(part, part, np.arange(2.0))
    assert found.bins == 0
    assert np.isnan([found.deviation, found.deviation_error, found.expected]).all()
