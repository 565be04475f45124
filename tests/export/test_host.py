"""What the tool makes of the outputs against what hepcalib predicts itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import inference
from hepcalib.exceptions import ShapeError
from hepcalib.export import athena_outputs, athena_response
from hepcalib.models import MLP, Bayesian

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle


def test_response_of_one_network_is_the_predicted_one(
    mlp: Callable[..., MLP], saved: Callable[..., Bundle], clusters: Any, features: Batch
) -> None:
    bundle = saved(mlp(), location="mode")
    predicted = inference.predict(bundle, clusters)
    energy = np.asarray(clusters.energy, np.float64)
    found = athena_response(*athena_outputs(bundle, features), energy)
    np.testing.assert_allclose(found.response, predicted.response, rtol=1e-5)
    np.testing.assert_allclose(found.sigma, predicted.sigma_tot, rtol=2e-5)
    np.testing.assert_allclose(found.energy, energy / predicted.response, rtol=1e-5)


def test_response_of_weight_draws_is_near_the_pooled_one(
    mlp: Callable[..., MLP], saved: Callable[..., Bundle], clusters: Any, features: Batch
) -> None:
    network = Bayesian(mlp(), draws=20, initial_log_variance=-9.0)
    bundle = saved(network, location="mode")
    predicted = inference.predict(bundle, clusters)
    found = athena_response(*athena_outputs(bundle, features), np.ones(len(clusters)))
    moved = np.abs(np.log10(found.response / np.asarray(predicted.response)))
    spread = np.asarray(predicted.sigma_tot / predicted.response) / np.log(10.0)
    assert np.quantile(moved / spread, 0.95) < 0.1
    ratio = found.sigma / found.response / np.asarray(predicted.sigma_tot / predicted.response)
    np.testing.assert_allclose(ratio, 1.0, rtol=2e-5)


def test_the_leftmost_component_is_not_missed() -> None:
    mus, deviations = np.array([[-0.50, -0.10, -0.08]]), np.array([[0.01, 0.03, 0.05]])
    alphas = np.array([[0.6, 0.2, 0.2]])
    found = athena_response(mus, 2 * np.log(deviations), alphas, [10.0])
    assert found.response[0] == pytest.approx(10.0**-0.50, rel=1e-4)
    # The grid of the tool begins at 0.9 min(mu), to the right of that component.
    grid = np.linspace(0.9 * mus.min(), 1.1 * mus.max(), 1000)[:, None]
    density = (alphas / deviations * np.exp(-0.5 * ((grid - mus) / deviations) ** 2)).sum(axis=1)
    assert abs(grid[density.argmax(), 0] + 0.50) > 0.04


def test_fallback() -> None:
    mus = np.array([[np.nan] * 3, [-7.0] * 3, [400.0] * 3, [-5.9] * 3])
    sigmas, alphas = np.full((4, 3), -4.0), np.full((4, 3), 1 / 3)
    found = athena_response(mus, sigmas, alphas, np.full(4, 2.0))
    np.testing.assert_allclose(found.response, [1, 1, 1, 10.0**-5.9], rtol=1e-6)
    assert found.sigma[:3].tolist() == [0.0, 0.0, 0.0]
    assert found.sigma[3] == pytest.approx(np.log(10) * 10.0**-5.9 * np.exp(-2.0))
    np.testing.assert_allclose(found.energy, 2.0 / found.response)


def test_no_clusters_and_wrong_shapes() -> None:
    empty = np.zeros((0, 3))
    assert all(len(part) == 0 for part in athena_response(empty, empty, empty, []))
    with pytest.raises(ShapeError, match=r"needed: 3 x \(rows, K\), \(rows,\)"):
        athena_response(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3)), [1.0])
