from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from hepcalib.calibration.monotone import monotone_curve


def nodes() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return np.cumsum(random.uniform(0.1, 1, 20)), np.cumsum(random.uniform(0.01, 2, 20))


def test_it_is_the_monotone_cubic_between_inner_nodes() -> None:
    x, y = nodes()
    at = np.linspace(x[1], x[-2], 500)
    expected = PchipInterpolator(x, y)
    height, slope = monotone_curve(at, x, y)
    np.testing.assert_allclose(height, expected(at), rtol=1e-12)
    np.testing.assert_allclose(slope, expected.derivative()(at), rtol=1e-9, atol=1e-12)


def test_it_rises_everywhere_and_is_straight_beyond_the_ends() -> None:
    x, y = nodes()
    at = np.linspace(x[0] - 5.0, x[-1] + 5.0, 5001)
    height, slope = monotone_curve(at, x, y)
    assert np.all(np.diff(height) > 0)
    assert np.all(slope > 0)
    for outside in (at < x[0], at > x[-1]):
        np.testing.assert_allclose(np.diff(height[outside], 2), 0.0, atol=1e-12)
        assert np.ptp(slope[outside]) == 0.0


def test_two_nodes_make_a_straight_line() -> None:
    height, slope = monotone_curve([-1.0, 0.5, 3.0], [0.0, 1.0], [2.0, 4.0])
    np.testing.assert_allclose(height, [0.0, 3.0, 8.0])
    np.testing.assert_allclose(slope, 2.0)
