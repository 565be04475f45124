from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.losses import distance_correlation
from hepcalib.samples import three_gaussians as toy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHORT = 200_000  # events
CLOSED = {"unconstrained": toy.UNCONSTRAINED, "decorrelated": toy.DECORRELATED}
SCORES = {
    "unconstrained": lambda events: toy.unconstrained_score(events.inputs),
    "decorrelated": lambda events: toy.decorrelated_score(events.inputs),
    "shifted": lambda events: toy.shifted_score(events.inputs, events.nuisance),
}


def test_closed_forms() -> None:
    numbers = {
        name: (score.rejection(0.5), score.rejection(0.3), score.auc)
        for name, score in CLOSED.items()
    }
    assert numbers["unconstrained"] == pytest.approx((60.95, 255.0, 0.9344), rel=2e-4)
    assert numbers["decorrelated"] == pytest.approx((10.96, 31.64, 0.8271), rel=5e-4)
    assert toy.SHIFTED.auc == pytest.approx(0.98763, abs=1e-5)
    assert toy.SHIFTED.rejection(0.9) == pytest.approx(60.6, abs=0.1)


def efficiency_error(score: toy.NormalScores, efficiency: float, rows: int) -> float:
    """Relative error of the background's efficiency at the cut of a signal efficiency.

    Of the background that passes, and of the cut: the error of the signal's quantile times the
    logarithmic slope of the background's efficiency.
    """
    step = 1e-4
    higher, lower = (np.log(score.rejection(efficiency + sign * step)) for sign in (1, -1))
    slope = (higher - lower) / (2 * step)
    of_cut = slope * np.sqrt(efficiency * (1 - efficiency) / rows)
    return float(np.hypot(np.sqrt(score.rejection(efficiency) / rows), of_cut))


def _agrees(name: str, rows: int, *, closed: toy.NormalScores, efficiency: float) -> bool:
    events = toy.simulate(rows, seed=31)
    score = SCORES[name](events)
    signal, background = score[events.signal], score[~events.signal]
    passed = (background > np.quantile(signal, 1 - efficiency)).mean()
    precision = efficiency_error(closed, efficiency, rows // 2)
    return bool(abs(passed * closed.rejection(efficiency) - 1) < 4 * precision)


@pytest.mark.parametrize(
    "rows", [SHORT, pytest.param(1_000_000, marks=pytest.mark.validation)], ids=["short", "long"]
)
@pytest.mark.parametrize(
    ("name", "closed", "efficiency"),
    [
        ("unconstrained", toy.UNCONSTRAINED, 0.5),
        ("unconstrained", toy.UNCONSTRAINED, 0.3),
        ("decorrelated", toy.DECORRELATED, 0.5),
        ("decorrelated", toy.DECORRELATED, 0.3),
        ("shifted", toy.SHIFTED, 0.9),
    ],
)
def test_rejections_are_those_of_samples(
    name: str, closed: toy.NormalScores, efficiency: float, rows: int
) -> None:
    assert _agrees(name, rows, closed=closed, efficiency=efficiency)
    other = closed._replace(separation=1.1 * closed.separation)
    assert not _agrees(name, rows, closed=other, efficiency=efficiency)


def auc(score: Floats, signal: NDArray[np.bool_]) -> float:
    ranks = score.argsort().argsort() + 1.0
    count, others = signal.sum(), (~signal).sum()
    return float((ranks[signal].sum() - 0.5 * count * (count + 1)) / (count * others))


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("unconstrained", toy.UNCONSTRAINED),
        ("decorrelated", toy.DECORRELATED),
        ("shifted", toy.SHIFTED),
    ],
)
def test_areas_are_those_of_samples(name: str, closed: toy.NormalScores) -> None:
    events = toy.simulate(SHORT, seed=32)
    found = auc(SCORES[name](events), events.signal)
    error = np.sqrt(closed.auc * (1 - closed.auc) / (SHORT / 2))  # an upper bound, of either class
    assert abs(found - closed.auc) < 4 * error
    assert abs(toy.UNCONSTRAINED.auc - toy.DECORRELATED.auc) > 40 * error


def _of_background(rows: int) -> dict[str, tuple[Floats, Floats]]:
    events = toy.simulate(2 * rows, seed=33)
    kept = ~events.signal
    found: dict[str, Callable[..., Floats]] = SCORES
    return {name: (score(events)[kept], events.nuisance[kept]) for name, score in found.items()}


def test_correlations_with_the_nuisance() -> None:
    rows = 100_000
    found = {name: np.corrcoef(*pair)[0, 1] for name, pair in _of_background(rows).items()}
    # The error of a correlation r is (1 - r^2) / sqrt(n).
    assert found["unconstrained"] == pytest.approx(-0.6247, abs=4 * (1 - 0.39) / rows**0.5)
    assert found["decorrelated"] == pytest.approx(0.0, abs=4 / rows**0.5)
    assert found["shifted"] == pytest.approx(0.0, abs=4 / rows**0.5)


def test_distance_correlations_with_the_nuisance() -> None:
    rows = 20_000
    found = {
        name: float(distance_correlation(*(torch.from_numpy(part) for part in pair)))
        for name, pair in _of_background(rows).items()
    }
    # d dCorr^2 / dr is 1.16 at r = -0.62; without dependence the mean is 3.17 / rows.
    assert found["unconstrained"] == pytest.approx(0.3300, abs=4 * 1.16 * (1 - 0.39) / rows**0.5)
    assert abs(found["decorrelated"]) < 4 * 3.17 / rows
    assert abs(found["shifted"]) < 4 * 3.17 / rows


def test_events_alternate_and_depend_on_the_seed_only() -> None:
    events = toy.simulate(7, seed=1)
    assert events.signal.tolist() == [False, True, False, True, False, True, False]
    assert events.inputs.shape == (7, 2)
    longer = toy.simulate(100, seed=1)
    np.testing.assert_array_equal(longer.inputs[:7], events.inputs)
    assert not np.array_equal(toy.simulate(7, seed=2).inputs, events.inputs)
    assert toy.simulate(0, seed=1).nuisance.shape == (0,)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="rows is -1, seed 0; needed: at least 0"):
        toy.simulate(-1, seed=0)
