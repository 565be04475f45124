from __future__ import annotations

import numpy as np
import pytest

from hepcalib.calibration.dijets import correlated_dijets, snapped_dijets
from hepcalib.exceptions import ConfigError


def test_width_of_jets_that_balance() -> None:
    found = correlated_dijets((500.0, 480.0), (36.0, 36.0), balance=130.0)
    assert found.first_width == pytest.approx(34.783, abs=5e-4)
    assert 1.0 - found.first_width / 36.0 == pytest.approx(0.034, abs=5e-4)


def test_samples_are_unbiased_and_as_narrow_as_told() -> None:
    rows, widths, balance = 200_000, (30.0, 50.0), 60.0
    random = np.random.default_rng(1)
    first = random.normal(700.0, 80.0, rows)
    second = first + random.normal(0.0, balance, rows)
    measured = first + random.normal(0.0, 30.0, rows), second + random.normal(0.0, 50.0, rows)
    found = correlated_dijets(measured, widths, balance=balance)
    for estimate, true, width, plain in (
        (found.first, first, found.first_width, 30.0),
        (found.second, second, found.second_width, 50.0),
    ):
        error = estimate - true
        assert abs(error.mean()) < 4 * width / rows**0.5
        assert error.std() == pytest.approx(float(width), rel=4 / (2 * rows) ** 0.5)
        assert error.std() < plain * (1 - 10 / (2 * rows) ** 0.5)


def test_jets_far_apart_move_and_near_ones_snap() -> None:
    moved = snapped_dijets((120.0, 100.0), (3.0, 4.0), balance=2.0)
    assert [float(jet) for jet in moved] == pytest.approx([115.5, 108.0])
    snapped = snapped_dijets((120.0, 100.0), (3.0, 4.0), balance=1.0)
    assert [float(jet) for jet in snapped] == pytest.approx([112.8, 112.8])
    mirrored = snapped_dijets((100.0, 120.0), (4.0, 3.0), balance=2.0)
    assert [float(jet) for jet in mirrored] == pytest.approx([108.0, 115.5])


def test_snapped_jets_have_the_highest_likelihood() -> None:
    measured, widths, balance = (120.0, 100.0), (3.0, 4.0), 1.2
    found = snapped_dijets(measured, widths, balance=balance)
    grid = np.linspace(95.0, 125.0, 601)
    z1, z2 = np.meshgrid(grid, grid, indexing="ij")
    pulls = ((z1 - measured[0]) / widths[0]) ** 2 + ((z2 - measured[1]) / widths[1]) ** 2
    best = np.unravel_index(int((0.5 * pulls + np.abs(z1 - z2) / balance).argmin()), z1.shape)
    assert float(found[0]) == pytest.approx(grid[best[0]], abs=0.05)
    assert float(found[1]) == pytest.approx(grid[best[1]], abs=0.05)


@pytest.mark.parametrize("function", [correlated_dijets, snapped_dijets])
def test_impossible_widths_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ConfigError, match=r"smallest width 0\.0, balance 5\.0; needed: positive"):
        function((1.0, 1.0), (0.0, 1.0), balance=5.0)
