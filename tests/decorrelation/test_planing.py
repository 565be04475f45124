"""Planed spectra are the same for both classes, at the price of the effective number of jets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hepcalib.decorrelation import effective_share, planing_weights
from hepcalib.exceptions import ConfigError, DataError, ShapeError

N = 40_000


def sample() -> tuple[Any, Any]:
    """Exponential background and normal signal on [0, 3]."""
    generator = np.random.default_rng(1)
    background = -np.log(1 - generator.random(N) * (1 - math.exp(-3)))
    signal = generator.normal(1.5, 0.5, N)
    signal = np.where((signal > 0) & (signal < 3), signal, 1.5)
    return np.concatenate([background, signal]), np.arange(2 * N) < N


def spectrum(values: Any, weight: Any, bins: int = 30) -> Any:
    return np.histogram(values, bins=bins, range=(0, 3), weights=weight)[0]


def test_flat_spectra_of_both_classes() -> None:
    values, background = sample()
    edges = np.linspace(0, 3, 31)
    weight = planing_weights(values, background, bins=[edges.tolist()])
    assert weight.mean() == pytest.approx(1)
    for members in (background, ~background):
        found = spectrum(values[members], weight[members])
        assert found == pytest.approx(found.mean(), rel=1e-9)
        assert found.sum() == pytest.approx(N)
    plain = spectrum(values[background], None)
    assert plain.max() > 10 * plain.min()


def test_effective_number_of_an_exponential() -> None:
    """W^2 / int dm / p = 9 / ((1 - e^-3) (e^3 - 1)) = 0.4963."""
    values, background = sample()
    expected = 9 / ((1 - math.exp(-3)) * (math.exp(3) - 1))
    assert expected == pytest.approx(0.4963, abs=1e-4)
    weight = planing_weights(values, background, bins=[np.linspace(0, 3, 61).tolist()])
    # Bins of 0.05 hide half of 0.05^2 / 12 of the relative variance; the least populated of the 60
    # has 110 +- 10 jets, and the sum over the bins of 1 / n is known to sqrt(sum n^-3) of it.
    counts = spectrum(values[background], None, 60)
    error = 3 * math.sqrt((counts**-3.0).sum()) / (1.0 / counts).sum()
    assert effective_share(weight[background]) == pytest.approx(expected, rel=error + 2e-4)
    assert effective_share(np.ones(5)) == 1.0


@pytest.mark.parametrize("reference", ["signal", "background"])
def test_reference_spectrum_stays(reference: Any) -> None:
    values, background = sample()
    weight = planing_weights(values, background, bins=[20], reference=reference)
    kept = background if reference == "background" else ~background
    a, b = (spectrum(values[rows], weight[rows], 20) for rows in (background, ~background))
    edges = np.linspace(values.min(), values.max(), 21)
    counts = [
        np.histogram(values[rows], edges, weights=weight[rows])[0]
        for rows in (background, ~background)
    ]
    assert counts[0] == pytest.approx(counts[1], rel=1e-9)
    assert np.unique(weight[kept].round(9)).size <= 2  # all the same, or in an empty bin of others
    assert a.sum() == pytest.approx(b.sum())


def test_two_variables_with_weights() -> None:
    values, background = sample()
    second = np.random.default_rng(2).random(2 * N) * (1 + values)
    start = np.random.default_rng(3).random(2 * N)
    both = np.stack([values, second], 1)
    edges = [np.linspace(0, 3, 7), np.linspace(0, 4, 5)]
    weight = planing_weights(
        both, background, bins=[e.tolist() for e in edges], weight=start, reference="background"
    )
    tables = [
        np.histogram2d(both[rows, 0], both[rows, 1], bins=edges, weights=weight[rows])[0]
        for rows in (background, ~background)
    ]
    assert tables[0] == pytest.approx(tables[1], rel=1e-9)


def test_what_cannot_be_planed_gets_no_weight() -> None:
    values = np.array([0.5, 1.5, 2.5, 0.5, 2.6, 9.0])
    background = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    weight = planing_weights(values, background, bins=[[0, 1, 2, 3]])
    assert weight.tolist() == pytest.approx([1.5, 0, 1.5, 1.5, 1.5, 0])


def test_bad_input_is_refused() -> None:
    values, background = np.arange(6.0), np.arange(6) < 3
    with pytest.raises(DataError, match="no bin has both"):
        planing_weights(values, background, bins=[6])
    with pytest.raises(DataError, match=r"row 2 has values \[nan\]"):
        planing_weights(np.where(values == 2, np.nan, values), background, bins=[2])
    with pytest.raises(DataError, match=r"weight -1\.0"):
        planing_weights(values, background, bins=[2], weight=-np.ones(6))
    with pytest.raises(ShapeError, match="as many of each"):
        planing_weights(values, background[:5], bins=[2])
    with pytest.raises(ConfigError, match="reference is 'mass'"):
        planing_weights(values, background, bins=[2], reference="mass")  # type: ignore[arg-type]  # refused, as it must be
    with pytest.raises(ConfigError, match="bins of 2 variables"):
        planing_weights(values, background, bins=[2, 2])
    with pytest.raises(ConfigError, match="in ascending order"):
        planing_weights(values, background, bins=[[1, 0]])
    with pytest.raises(ConfigError, match="of a constant"):
        planing_weights(np.ones(6), background, bins=[3])
