from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import DataError, ShapeError

EDGES = np.linspace(-1.0, 1.0, 101)


def test_probabilities_are_those_of_normals() -> None:
    means, deviations, weights = [0.1, -0.3], [0.2, 0.5], [0.6, 0.4]
    found = hists.interval_probabilities(
        EDGES, weights=[weights] * 3, means=[means] * 3, deviations=[deviations] * 3
    )
    expected = np.zeros(EDGES.size)
    for a, m, s in zip(weights, means, deviations, strict=True):
        expected += a * np.array([NormalDist(m, s).cdf(float(edge)) for edge in EDGES])
    assert found.shape == (3, 100)
    assert np.allclose(found, np.diff(expected), rtol=0.0, atol=1e-14)


def test_probabilities_refuse_components_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"\(1, 2\), \(1, 1\)"):
        hists.interval_probabilities(EDGES, weights=[[0.5, 0.5]], means=[[0.0]], deviations=[[0.1]])


def test_predictions_are_added_in_their_bin_of_energy() -> None:
    filled = hists.density(energies=(1.0, 10.0, 100.0), components=1)
    p = hists.interval_probabilities(
        EDGES, weights=[[1.0]] * 4, means=[[0.0]] * 4, deviations=[[1.0]] * 4
    )
    energy, weight = [1.0, 5.0, 10.0, 1e3], [1.0, 2.0, 4.0, 8.0]
    for kind in ("predicted", "component 1"):
        hists.fill_predicted_density(
            filled, kind=kind, energy=energy, probabilities=p, weight=weight
        )
    values = filled.values(flow=True)[1]
    assert np.allclose(values.sum(axis=1), [0.0, 3.0, 4.0, 8.0], rtol=1e-12)  # all of each row
    assert np.allclose(values[1, 1:-1], 3.0 * p[0], rtol=1e-12)
    variances = filled.variances(flow=True)
    assert variances is not None
    assert np.allclose(variances[1, 1, 1:-1], 5.0 * p[0] ** 2, rtol=1e-12)
    component = filled.values(flow=True)[2]
    assert np.allclose(component[:, 1:-1], values[:, 1:-1])
    assert not component[:, -1].any()


def test_energies_fall_into_the_same_bins_as_data() -> None:
    filled = hists.density(components=1)
    edges = np.asarray(filled.axes["energy"].edges)
    energy = np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1]), [0.0, np.inf]])
    hists.fill_density(filled, energy=energy, log_response=np.zeros(energy.size))
    sure = np.zeros((energy.size, 100))
    sure[:, 50] = 1.0
    hists.fill_predicted_density(filled, kind="predicted", energy=energy, probabilities=sure)
    data, predicted, _ = filled.values(flow=True)
    assert data.sum() == energy.size
    assert np.array_equal(data, predicted)


GOOD: dict[str, Any] = {
    "kind": "predicted",
    "energy": [1.0, 2.0],
    "probabilities": np.full((2, 100), 0.01),
}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"kind": "data"}, DataError, "no prediction is called 'data'"),
        ({"kind": "component 9"}, DataError, "Did you mean"),
        ({"energy": [1.0]}, ShapeError, r"got \(1,\), \(1,\) and \(2, 100\)"),
        ({"probabilities": np.ones((2, 3))}, ShapeError, r"rows, 100"),
        ({"weight": [1.0]}, ShapeError, r"got \(2,\), \(1,\)"),
        ({"energy": [1.0, np.nan]}, DataError, "an energy is NaN"),
        ({"probabilities": np.full((2, 100), np.nan)}, DataError, "not finite"),
        ({"weight": [1.0, np.inf]}, DataError, "not finite"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    filled = hists.density()
    with pytest.raises(error, match=message):
        hists.fill_predicted_density(filled, **{**GOOD, **wrong})
    assert not filled.values(flow=True).any()
