from __future__ import annotations

import correctionlib
import numpy as np
import pytest

from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.exceptions import ConfigError
from hepcalib.export import inversion_json


def inversion() -> NumericalInversion:
    true = np.geomspace(1.0, 1000.0, 20)
    response = np.stack([1.0 - 0.3 * true**-0.2, 0.9 - 0.2 * true**-0.3])
    edges = {"abs_eta": np.array([0.0, 1.2, 2.5])}
    return NumericalInversion(true=true, measured=true * response, auxiliary=edges, spacing="log")


def test_correctionlib_applies_the_inversion() -> None:
    found = inversion()
    text = inversion_json("residual", found, variable=("energy", "GeV"))
    correction = correctionlib.CorrectionSet.from_string(text)["residual"]
    random = np.random.default_rng(1)
    energy, eta = np.exp(random.uniform(np.log(0.8), np.log(840), 500)), random.uniform(0, 2.5, 500)
    expected = found.factor(energy, abs_eta=eta)
    # Between points 3.5 % apart, the factor is nearly straight in ln E.
    np.testing.assert_allclose(correction.evaluate(energy, eta), expected, rtol=1e-4)
    np.testing.assert_allclose(energy * expected, found.apply(energy, abs_eta=eta), rtol=1e-9)
    coarse = inversion_json("residual", found, variable=("energy", "GeV"), points=4)
    seen = correctionlib.CorrectionSet.from_string(coarse)["residual"].evaluate(energy, eta)
    assert np.abs(seen / expected - 1).max() > 1e-3


def test_linear_spacing_and_too_few_points() -> None:
    found = NumericalInversion.of(lambda x: 2.0 * x + 1.0, low=0.0, high=10.0, nodes=5)
    text = inversion_json("residual", found, variable=("x", ""), points=100)
    correction = correctionlib.CorrectionSet.from_string(text)["residual"]
    assert correction.evaluate(11.0) == pytest.approx(5.0 / 11.0, rel=1e-3)
    with pytest.raises(ConfigError, match="1 points; needed: at least 2"):
        inversion_json("residual", found, variable=("x", ""), points=1)
