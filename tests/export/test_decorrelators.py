"""The table of a decorrelator is the decorrelator, as far as straight lines between nodes go."""

from __future__ import annotations

from typing import Any

import correctionlib
import numpy as np
import pytest

from hepcalib.decorrelation import DesignedDecorrelation, FixedEfficiencyMap
from hepcalib.exceptions import ConfigError
from hepcalib.export import decorrelator_json

UNITS = {"mass": "GeV", "pt": "GeV", "n_pv": ""}
ROWS = 3000


def jets(seed: int = 1) -> tuple[Any, dict[str, Any]]:
    generator = np.random.default_rng(seed)
    mass, pt = generator.uniform(50, 300, ROWS), generator.uniform(200, 700, ROWS)
    score = generator.normal(0.1 * np.log(mass**2 / pt), 0.2)
    return score, {"mass": mass, "pt": pt}


def table(made: Any, scores: Any, **options: Any) -> Any:
    text = decorrelator_json("flat", made, scores=scores, units=UNITS, **options)
    return correctionlib.CorrectionSet.from_string(text)["flat"]


def test_is_the_decorrelator_between_the_nodes() -> None:
    score, columns = jets()
    made = DesignedDecorrelation.fit(score, columns, rho_range=(1.0, 5.0))
    scores = np.linspace(score.min(), score.max(), 61)
    coarse, fine = (
        table(made, scores, nodes=nodes).evaluate(score, columns["mass"], columns["pt"])
        for nodes in ((4, 3), (31, 11))
    )
    expected = made(score, columns)
    # a straight line over a step h is off by at most h^2 / 8 times the largest curvature; of the
    # score here, 2.4 / (2 * 0.2)^2 for a step of 0.03
    assert np.abs(fine - expected).max() < 0.01
    assert np.abs(coarse - expected).max() > 2 * np.abs(fine - expected).max()
    correction = table(made, scores, nodes=(3, 3), description="Uniform in mass.")
    assert [(v.name, v.description) for v in correction.inputs] == [
        ("score", "interpolated"),
        ("mass", "[GeV], interpolated"),
        ("pt", "[GeV], interpolated"),
    ]
    assert correction.description == "Uniform in mass."


@pytest.mark.parametrize("scale", [1e-11, 1.0, 1e7])
def test_the_ends_of_all_ranges_are_inside(scale: float) -> None:
    """Numbers of many digits are not read back exactly: an end may not be where it was."""
    score, columns = jets()
    mass = columns["mass"]
    made = FixedEfficiencyMap.fit(scale * score, {"mass": mass}, logarithmic=False, bins=5)
    ends = scale * np.array([score.min(), score.max()])
    correction = table(made, np.concatenate([ends[:1], [0.0], ends[1:]]), nodes=(5,))
    for at in (mass.min(), mass.max()):
        found = correction.evaluate(ends, np.full(2, at))
        assert found == pytest.approx(made(ends, {"mass": np.full(2, at)}), abs=1e-3)
    for bad in ((2 * ends[1], 100.0), (0.0, 301.0), (0.0, 49.0), (0.0, float("nan"))):
        with pytest.raises(RuntimeError, match=r"bounds|MultiBinning"):
            correction.evaluate(*bad)


def test_a_constant_nuisance_and_too_few_nodes() -> None:
    score, columns = jets()
    constant = {"n_pv": np.full(ROWS, 35.0)}
    made = FixedEfficiencyMap.fit(score, constant, logarithmic=False, bins=1)
    correction = table(made, np.linspace(-1, 2, 50), nodes=(2,))
    assert correction.evaluate(0.5, 35.0) == pytest.approx(
        made([0.5], {"n_pv": [35.0]})[0], abs=0.01
    )
    other = DesignedDecorrelation.fit(score, columns, rho_range=(1.0, 5.0))
    with pytest.raises(ConfigError, match="score has edges"):
        table(other, [0.5])
