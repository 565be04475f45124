from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hepcalib.interpretation.draws import LARGEST, keyed_normals, keyed_uniforms

ROWS = np.arange(20_000)


def test_a_number_depends_on_its_key_only() -> None:
    everything = keyed_normals(3, ROWS, 1)
    order = np.random.default_rng(1).permutation(len(ROWS))
    assert np.array_equal(keyed_normals(3, ROWS[order], 1), everything[order])
    assert np.array_equal(keyed_normals(3, ROWS[7:9], 1), everything[7:9])


@pytest.mark.parametrize("other", [(4, ROWS, 1), (3, ROWS + 1, 1), (3, ROWS, 2), (1, ROWS, 3)])
def test_other_keys_give_independent_numbers(other: tuple[np.ndarray | int, ...]) -> None:
    correlation = stats.pearsonr(keyed_normals(3, ROWS, 1), keyed_normals(*other)).statistic
    assert abs(correlation) < 4.0 / np.sqrt(len(ROWS))


def test_the_correlation_of_the_same_keys_is_seen() -> None:
    again = stats.pearsonr(keyed_normals(3, ROWS, 1), keyed_normals(3, ROWS, 1))
    assert again.statistic == pytest.approx(1.0)


def test_numbers_are_uniform_and_normal() -> None:
    uniform = keyed_uniforms(0, ROWS[:200, None], ROWS[:100]).ravel()
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(keyed_normals(5, ROWS), "norm").pvalue > 1e-3
    assert stats.kstest(1.05 * keyed_normals(5, ROWS), "norm").pvalue < 1e-3


def test_the_largest_number_is_below_the_limit() -> None:
    # The uniform number next to 1 has a distance of 2^-53 from it.
    assert stats.norm.isf(2.0**-53) < LARGEST
    assert float(keyed_uniforms(0, ROWS).min()) > 0.0
    assert float(keyed_uniforms(0, ROWS).max()) < 1.0


def test_shapes_broadcast() -> None:
    assert keyed_normals(0, ROWS[:5, None], np.arange(3)).shape == (5, 3)
