"""What every decorrelator promises."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from hepcalib.decorrelation import METHODS
from hepcalib.exceptions import ConfigError, DataError, ShapeError

N = 6000
OPTIONS: dict[str, dict[str, Any]] = {
    "conditional_flow": {"epochs": 4, "hidden": (8,), "learning_rate": 2e-2, "batch_size": 500},
    "convolved": {"mass_width": 25.0, "bins": 40},
    "designed": {"rho_range": (1.0, 5.0)},
    "fixed_efficiency": {"bins": 10, "efficiency": 0.3, "minimum_entries": 10, "neighbours": 3},
    "quantile_regression": {"epochs": 4, "hidden": (8,), "learning_rate": 2e-2, "batch_size": 500},
}
every = pytest.mark.parametrize("name", METHODS)


def jets(rows: int = N, *, seed: int = 1) -> tuple[Any, dict[str, Any]]:
    """A score in (0, 1) that rises with the mass."""
    generator = np.random.default_rng(seed)
    pt = generator.uniform(200, 500, rows)
    mass = 50 + generator.exponential(50, rows)
    normal = generator.normal(size=rows) + 1.2 * np.log(mass / 100)
    return 1 / (1 + np.exp(-normal)), {"mass": mass, "pt": pt}


def nuisances(name: str, columns: dict[str, Any]) -> dict[str, Any]:
    return {"mass": columns["mass"]} if name == "convolved" else columns


def fitted(name: str, **more: Any) -> Any:
    score, columns = jets()
    return METHODS[name].fit(score, nuisances(name, columns), **OPTIONS[name], **more)  # type: ignore[attr-defined]  # each has its own options


def test_all_are_tested() -> None:
    assert OPTIONS.keys() == METHODS.keys()


@every
def test_background_becomes_uniform(name: str) -> None:
    score, columns = jets(seed=2)
    new = fitted(name)(score, nuisances(name, columns))
    assert ((new > 0) & (new < 1)).all()
    # A sample of 6000, compared with the distribution of another one of 6000: 1.95 / sqrt(3000)
    # is exceeded once in a thousand times; twice as much for what the fit has learnt by heart.
    assert kstest(new, "uniform").statistic < 2 * 1.95 / np.sqrt(N / 2)


@every
def test_new_scores_depend_less_on_the_mass(name: str) -> None:
    score, columns = jets(seed=2)
    made = fitted(name)
    new = made(score, nuisances(name, columns))
    light, heavy = columns["mass"] < 70, columns["mass"] > 130
    cut = 1 - OPTIONS[name].get("efficiency", 0.3)

    def difference(values: Any) -> float:
        passed = values > np.quantile(values, cut)
        return float(passed[heavy].mean() - passed[light].mean())

    assert difference(score) > 0.3  # the control
    # Two binomial errors of about 0.012 each; a designed decorrelation moves the mean only.
    assert abs(difference(new)) < (0.12 if name == "designed" else 4 * 0.017)


@every
def test_order_at_fixed_nuisances_stays(name: str) -> None:
    made = fitted(name)
    score = np.linspace(0.0001, 0.9999, 2000)
    for mass in (55.0, 90.0, 200.0):
        columns = {"mass": np.full(2000, mass), "pt": np.full(2000, 300.0)}
        assert (np.diff(made(score, nuisances(name, columns))) > 0).all()


@every
def test_state_survives_json(name: str) -> None:
    made, (score, columns) = fitted(name), jets(200, seed=3)
    again = METHODS[name].from_state(json.loads(json.dumps(made.state)))
    given = nuisances(name, columns)
    assert again(score, given).tolist() == made(score, given).tolist()
    assert again.state == made.state
    with pytest.raises(ConfigError, match="state has"):
        METHODS[name].from_state({**made.state, "more": 1})


@every
def test_fits_can_be_repeated_and_rows_are_independent(name: str) -> None:
    score, columns = jets(300, seed=4)
    given = nuisances(name, columns)
    made = fitted(name)
    whole = made(score, given)
    assert whole.tolist() == fitted(name)(score, given).tolist()
    part = made(score[50:60], {key: value[50:60] for key, value in given.items()})
    assert part == pytest.approx(whole[50:60], rel=1e-9)
    nothing = {key: value[:0] for key, value in given.items()}
    assert made(score[:0], nothing).shape == (0,)


@every
def test_weights_are_replications(name: str) -> None:
    """To the accuracy of a fit for those that draw batches."""
    score, columns = jets(3000, seed=5)
    given = nuisances(name, columns)
    weight = np.random.default_rng(6).integers(0, 3, 3000)
    options = OPTIONS[name] | ({"minimum_entries": 1} if name == "fixed_efficiency" else {})
    fit = METHODS[name].fit  # type: ignore[attr-defined]  # each has its own options
    one = fit(score, given, weight=weight, **options)
    other = fit(
        np.repeat(score, weight), {k: np.repeat(v, weight) for k, v in given.items()}, **options
    )
    difference = np.abs(one(score, given) - other(score, given))
    exact = name in {"designed", "fixed_efficiency"}
    # Interpolated quantiles of replicated jets are those of weighted ones up to 1 / N per cell.
    assert np.median(difference) < (0.01 if exact else 0.03)


@every
def test_nuisances_outside_are_taken_at_the_end_and_flagged(name: str) -> None:
    made = fitted(name)
    inside = {"mass": np.array([made.ranges[0][1]]), "pt": np.array([300.0])}
    outside = {"mass": np.array([1e4]), "pt": np.array([300.0])}
    score = np.array([0.7])
    found = [made(score, nuisances(name, given))[0] for given in (inside, outside)]
    assert found[0] == found[1]
    flags = [made.in_range(nuisances(name, given)).tolist() for given in (inside, outside)]
    assert flags == [[True], [False]]


@every
def test_scores_beyond_those_seen_are_still_ordered(name: str) -> None:
    made = fitted(name)
    score = np.array([-1e9, -3.0, -2.0, 0.5, 2.0, 3.0, 1e9])
    columns = {"mass": np.full(7, 80.0), "pt": np.full(7, 300.0)}
    new = made(score, nuisances(name, columns))
    assert (np.diff(new) >= 0).all()
    assert (np.diff(new)[1:-1] > 0).all()
    assert ((new >= 0) & (new <= 1)).all()


@every
def test_bad_input_is_refused(name: str) -> None:
    score, columns = jets(200)
    given = nuisances(name, columns)
    fit = METHODS[name].fit  # type: ignore[attr-defined]  # each has its own options
    made = fitted(name)
    with pytest.raises(DataError, match="nuisance 'mass' is missing"):
        made(score, {"pt": columns["pt"]})
    with pytest.raises(ShapeError, match="has shape"):
        made(score[1:], given)
    with pytest.raises(DataError, match="score is nan in row 3"):
        made(np.where(np.arange(200) == 3, np.nan, score), given)
    broken = {**given, "mass": np.where(np.arange(200) == 7, np.inf, given["mass"])}
    for call in (made, fit):
        with pytest.raises(DataError, match="'mass' is inf in row 7"):
            call(score, broken)
    with pytest.raises(DataError, match=r"all scores are 0\.5"):
        fit(np.full(200, 0.5), given)
    with pytest.raises(DataError, match="1 background jets of positive weight; needed: 100"):
        fit(score, given, weight=np.arange(200) == 5)
    with pytest.raises(DataError, match=r"weight -1\.0 in row 0"):
        fit(score, given, weight=-np.ones(200))
    with pytest.raises(ShapeError, match="as many"):
        fit(score, given, weight=np.ones(3))
    with pytest.raises(ConfigError, match="needed: "):
        fit(score, {**columns, "mu": columns["pt"]})
