"""Each method of decorrelation against its closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import kstest

from hepcalib.decorrelation import (
    ConditionalFlow,
    ConvolvedSubstructure,
    DesignedDecorrelation,
    FixedEfficiencyMap,
    QuantileRegression,
    scaled_mass,
)
from hepcalib.decorrelation.decorrelator import levels
from hepcalib.exceptions import ConfigError, DataError

N = 20_000
R = 0.7  # correlation of score and nuisance


def normal_pair(rows: int = N, *, seed: int = 1) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    nuisance = generator.normal(size=rows)
    return R * nuisance + np.sqrt(1 - R**2) * generator.normal(size=rows), nuisance


def linear_jets(rows: int = N, *, seed: int = 2) -> tuple[Any, dict[str, Any]]:
    """Scores that fall with rho' with slope -0.063, around 0.6 at 1.5."""
    generator = np.random.default_rng(seed)
    pt = generator.uniform(200, 500, rows)
    rho = generator.uniform(1.0, 5.0, rows)
    score = 0.6 - 0.063 * (rho - 1.5) + generator.normal(0, 0.1, rows)
    return score, {"mass": np.sqrt(np.exp(rho) * pt), "pt": pt}


def test_designed_slope_is_found_and_nothing_is_left() -> None:
    score, columns = linear_jets()
    made = DesignedDecorrelation.fit(score, columns)
    assert abs(made.slope + 0.063) < 4 * made.slope_error
    # Var = s^2 / (n <(rho - mean)^2>) for the jets between 1.5 and 4
    rho = scaled_mass(columns["mass"], columns["pt"])
    used = rho[(rho > 1.5) & (rho < 4)]
    assert made.slope_error == pytest.approx(0.1 / np.sqrt(len(used) * used.var()), rel=0.05)
    values = made.values(score, np.stack(list(columns.values()), 1))
    left = DesignedDecorrelation.fit(values, columns)
    # exactly 0 but for the errors of the bins, which change a little with the slope
    assert abs(left.slope) < 0.02 * made.slope_error
    assert made.start == 1.5


def test_designed_needs_mass_and_momentum() -> None:
    score, columns = linear_jets(200)
    with pytest.raises(ConfigError, match="needed: 2"):
        DesignedDecorrelation.fit(score, {"mass": columns["mass"]})
    turned = {"pt": columns["pt"], "mass": columns["mass"]}
    wanted = r"\['pt', 'mass'\]; needed: the mass, then pt"
    with pytest.raises(ConfigError, match=wanted):
        DesignedDecorrelation.fit(score, turned)
    with pytest.raises(ConfigError, match=wanted):
        FixedEfficiencyMap.fit(score, turned, logarithmic=True)
    with pytest.raises(DataError, match=r"mass 0\.0 GeV"):
        DesignedDecorrelation.fit(score, {**columns, "mass": np.zeros(200)})
    with pytest.raises(DataError, match="0 of 25 bins of rho'"):
        DesignedDecorrelation.fit(score, columns, rho_range=(20.0, 21.0))


@pytest.mark.parametrize("method", ["neighbours", "bins"])
def test_fixed_efficiency_is_the_same_everywhere(method: Any) -> None:
    score, nuisance = normal_pair()
    made = FixedEfficiencyMap.fit(
        score, {"m": nuisance}, efficiency=0.16, method=method, logarithmic=False
    )
    for at in (-1.5, -0.5, 0.0, 0.8, 1.5):
        cut = made.cut(np.array([[at]]))[0]
        efficiency = 1 - ndtr((cut - R * at) / np.sqrt(1 - R**2))
        # a bin of 0.4 at 1.5 has 700 jets: sqrt(0.16 * 0.84 / 700), and the average over the
        # neighbours, 0.4 away on each side, is off by less than the same
        assert efficiency == pytest.approx(0.16, abs=3 * 0.014)
    share = made(score, {"m": nuisance}) > 1 - 0.16
    assert share.mean() == pytest.approx(0.16, abs=0.001)


def test_fixed_efficiency_in_mass_and_momentum() -> None:
    score, columns = linear_jets()
    made = FixedEfficiencyMap.fit(score, columns, efficiency=0.5, bins=10)
    rho = np.array([2.0, 3.0, 4.0])
    at = np.stack([np.sqrt(np.exp(rho) * 300), np.full(3, 300.0)], axis=1)
    # 200 jets in a cell: 1.25 * 0.1 / sqrt(200), 5 of which are averaged
    assert made.cut(at) == pytest.approx(0.6 - 0.063 * (rho - 1.5), abs=4 * 0.009)


def test_only_a_mass_and_a_momentum_become_a_logarithm() -> None:
    score, columns = linear_jets(500)
    n_pv = np.arange(500.0) % 7
    options: Any = {"bins": 5, "minimum_entries": 5}
    assert FixedEfficiencyMap.fit(score, columns, **options).logarithmic
    other = {"mass": columns["mass"], "n_pv": n_pv}
    assert not FixedEfficiencyMap.fit(score, other, **options).logarithmic


@pytest.mark.parametrize("method", ["neighbours", "bins"])
def test_fixed_efficiency_of_a_constant_nuisance_is_one_cut(method: Any) -> None:
    score, _ = normal_pair(500)
    made = FixedEfficiencyMap.fit(
        score, {"m": np.full(500, 80.0)}, method=method, efficiency=0.16, logarithmic=False
    )
    expected = np.quantile(score, 0.84)
    # 1.5 times the error of a percentile of 500 normal numbers, for how it is interpolated
    assert made.cut(np.array([[80.0]]))[0] == pytest.approx(expected, abs=0.1)


def test_fixed_efficiency_fills_holes_and_refuses_empty_maps() -> None:
    score, nuisance = normal_pair(500)
    nuisance = np.where(nuisance > 0, nuisance + 20, nuisance - 20)
    made = FixedEfficiencyMap.fit(score, {"m": nuisance}, method="bins", logarithmic=False)
    assert np.isfinite(made.cut(np.linspace(-25, 25, 50)[:, None])).all()
    with pytest.raises(DataError, match="none of 20 bins has 1000 jets"):
        FixedEfficiencyMap.fit(score, {"m": nuisance}, minimum_entries=1000, logarithmic=False)
    with pytest.raises(ConfigError, match=r"efficiency 1\.0"):
        FixedEfficiencyMap.fit(score, {"m": nuisance}, efficiency=1.0)
    with pytest.raises(ConfigError, match="logarithmic needs two"):
        FixedEfficiencyMap.fit(score, {"m": nuisance}, logarithmic=True)


def smeared(mass: Any, *, seed: int, sign: float = 1.0) -> Any:
    """The shape of the convolved substructure itself."""
    generator = np.random.default_rng(seed)
    omega = np.clip(20 * (1 / 50 - 1 / mass) + 0.3 * np.log(mass / 50), 1e-9, None)
    start = np.abs(generator.normal(1.0, 0.3, len(mass)))
    return sign * (start + generator.gamma(2.5, omega / 2.5))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_convolved_shapes_are_recognised(sign: float) -> None:
    generator = np.random.default_rng(3)
    mass = 50 + generator.exponential(60, N)
    made = ConvolvedSubstructure.fit(smeared(mass, seed=4, sign=sign), {"mass": mass})
    assert made.sign == sign
    expected = 20 * (1 / made.reference - 1 / 150) + 0.3 * np.log(150 / made.reference)
    # 300 jets of width 0.35 around 150 GeV, 3000 at the reference, and the rest of the curve
    assert made.smearing([150.0])[0] == pytest.approx(expected, abs=3 * 0.35 / np.sqrt(300))
    for at in (60.0, 100.0, 150.0):
        masses = np.full(2000, at)
        new = made(smeared(masses, seed=5, sign=sign), {"mass": masses})
        # 1.95 / sqrt(2000) is exceeded once in a thousand; the reference has 3000 jets itself
        assert kstest(new, "uniform").statistic < 1.95 * np.sqrt(1 / 2000 + 1 / 3000) + 0.01


@pytest.mark.parametrize("cls", [ConditionalFlow, QuantileRegression])
def test_conditional_distributions_are_uniform_at_every_mass(cls: Any) -> None:
    """s|m ~ N(r m, 1 - r^2): the new score is Phi((s - r m) / sqrt(1 - r^2))."""
    score, nuisance = normal_pair()
    made = cls.fit(score, {"m": nuisance}, epochs=8, hidden=(16,), learning_rate=1e-2)
    worst = []
    for number, at in enumerate((-1.5, 0.0, 1.5)):
        noise = np.random.default_rng(10 + number).normal(size=1000)
        exact = ndtr(noise)
        new = made(R * at + np.sqrt(1 - R**2) * noise, {"m": np.full(1000, at)})
        worst.append(np.abs(new - exact).max())
        assert kstest(new, "uniform").statistic < 1.95 / np.sqrt(1000) + 0.02
    # jets around m = 1.5 that matter to the fit: about 2000, sqrt(1/4 / 2000) = 0.011
    assert max(worst) < 4 * 0.011 + 0.01
    control = ndtr(R * 1.5 + np.sqrt(1 - R**2) * np.random.default_rng(12).normal(size=1000))
    assert kstest(control, "uniform").statistic > 0.3


@pytest.mark.parametrize("cls", [ConditionalFlow, QuantileRegression])
def test_background_is_tabulated_with_the_weights_that_are_kept(cls: Any) -> None:
    score, nuisance = normal_pair(1000)
    made = cls.fit(score, {"m": nuisance}, epochs=2, hidden=(8,))
    values = made.values(score, nuisance[:, None])
    assert made.table.tolist() == levels(values, np.ones(1000) / 1000).tolist()


def test_flow_leaves_the_curve_at_fixed_mass() -> None:
    """The order of all scores at one mass stays, so that each cut has the same two efficiencies."""
    score, nuisance = normal_pair(4000)
    made = ConditionalFlow.fit(score, {"m": nuisance}, epochs=3, hidden=(8,))
    generator = np.random.default_rng(7)
    mixed = np.concatenate([generator.normal(0, 1, 500), generator.normal(2, 1, 500)])
    new = made(mixed, {"m": np.full(1000, 0.3)})
    assert np.argsort(new, kind="stable").tolist() == np.argsort(mixed, kind="stable").tolist()


def test_options_of_the_conditional_methods() -> None:
    score, nuisance = normal_pair(200)
    for cls, options, message in (
        (ConditionalFlow, {"bins": 1}, "bins is 1; needed: at least 2"),
        (QuantileRegression, {"quantiles": 2}, "quantiles is 2; needed: at least 3"),
        (ConditionalFlow, {"epochs": 0}, "at least 1 epoch"),
        (QuantileRegression, {"hidden": (0,)}, r"hidden is \[0\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            cls.fit(score, {"m": nuisance}, **options)
