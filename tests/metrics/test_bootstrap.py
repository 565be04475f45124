from __future__ import annotations

import numpy as np
import pytest

from hepcalib.metrics.bootstrap import (
    QUANTITIES,
    described,
    drawn_cells,
    drawn_rows,
    effective_entries,
    spread,
)


def test_errors_are_those_of_the_estimators() -> None:
    """Of the mean, median and width of a normal sample, from 200 replicas: known to 5 %."""
    rows, sigma = 4000, 0.2
    values = 1.0 + sigma * np.random.default_rng(1).normal(size=rows)
    drawn = drawn_rows(rows, replicas=200, seed=2)
    found = described(
        values, drawn.astype(np.float64), entries=float(rows), minimum=10.0, factor=20.0
    )
    errors = dict(zip(QUANTITIES, found[1:-1:2], strict=True))
    expected = {"mean": sigma, "median": 1.2533 * sigma}
    for quantity, error in expected.items():
        assert errors[quantity] == pytest.approx(error / rows**0.5, rel=0.25)
    values_found = dict(zip(QUANTITIES, found[:-1:2], strict=True))
    assert abs(values_found["width"] - sigma) < 5 * errors["width"]
    assert abs(values_found["tails"] - 0.0027) < 5 * 0.0027**0.5 / rows**0.5
    assert found[-1] == rows


def test_draws_depend_on_seed_and_row_only() -> None:
    long, short = drawn_rows(500, replicas=5, seed=3), drawn_rows(500, replicas=5, seed=3)
    assert np.array_equal(long, short)
    assert not np.array_equal(long[1:], drawn_rows(500, replicas=5, seed=4)[1:])
    assert np.all(long[0] == 1)


def test_cells_keep_mean_and_variance() -> None:
    values, variances = np.full(20_000, 6.0), np.full(20_000, 12.0)  # of weights 2
    drawn = drawn_cells(values, variances, replicas=3, seed=5)
    assert np.array_equal(drawn[0], values)
    assert drawn[1:].mean() == pytest.approx(6.0, abs=4 * (12.0 / 60_000) ** 0.5)
    assert drawn[1:].var() == pytest.approx(12.0, rel=0.05)
    negative = drawn_cells(np.array([-1.0, 0.0]), np.array([1.0, 0.0]), replicas=2, seed=5)
    assert np.all(negative == 0.0)


def test_too_few_entries_give_nothing() -> None:
    found = described(np.ones(3), np.ones((4, 3)), entries=3.0, minimum=10.0, factor=20.0)
    assert np.isnan(found[:-1]).all()
    assert effective_entries(0.0, 0.0) == 0.0
    assert np.isnan(spread(np.ones((2, 2)))).all()
