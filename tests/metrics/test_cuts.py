from __future__ import annotations

import numpy as np
import pytest

from hepcalib.metrics.counts import Counts
from hepcalib.metrics.cuts import cut_at, efficiency_and_error, passing


def plain(*values: float) -> Counts:
    return Counts(np.array(values), np.array(values))


def test_a_cut_splits_the_bin_where_the_efficiency_is_reached() -> None:
    cut = cut_at(plain(4.0, 4.0, 2.0), 0.5)
    assert cut is not None
    assert cut.bin == 1
    assert cut.fraction == pytest.approx(0.75)
    passed = passing(plain(4.0, 4.0, 2.0), cut)
    assert passed.values == pytest.approx(5.0)
    assert passed.variances == pytest.approx(5.0)


@pytest.mark.parametrize(("efficiency", "expected"), [(0.0, 0.0), (0.2, 2.0), (1.0, 10.0)])
def test_cuts_at_bin_edges_and_ends(efficiency: float, expected: float) -> None:
    scores = plain(4.0, 0.0, 4.0, 2.0)
    cut = cut_at(scores, efficiency)
    assert cut is not None
    assert passing(scores, cut).values == pytest.approx(expected)


def test_no_cut_without_entries() -> None:
    assert cut_at(plain(0.0, 0.0), 0.5) is None
    assert cut_at(Counts(np.array([1.0, -2.0]), np.array([1.0, 2.0])), 0.5) is None


def test_a_cut_passes_through_bins_of_negative_weight() -> None:
    scores = Counts(np.array([5.0, -1.0, 6.0]), np.array([5.0, 1.0, 6.0]))
    cut = cut_at(scores, 0.8)
    assert cut is not None
    assert cut.bin == 0


def test_efficiency_of_unit_weights_is_binomial() -> None:
    e, error = efficiency_and_error(plain(3.0, 0.0, 10.0, 0.0), plain(10.0, 10.0, 10.0, 0.0))
    assert e[:3] == pytest.approx([0.3, 0.0, 1.0])
    assert error[0] == pytest.approx(np.sqrt(0.3 * 0.7 / 10.0))
    # Flat prior, 0 of 10: Beta(1, 11), and 10 of 10 its mirror image.
    beta = np.sqrt(11.0 / (12.0**2 * 13.0))
    assert error[1:3] == pytest.approx([beta, beta])
    assert np.isnan([e[3], error[3]]).all()


def test_error_of_weighted_efficiencies_is_their_spread() -> None:
    rng = np.random.default_rng(31)
    trials, rows = 1000, 500
    weight = rng.exponential(1.0, (trials, rows))
    chosen = rng.random((trials, rows)) < np.where(weight > 1.0, 0.6, 0.2)
    passed = Counts((weight * chosen).sum(1), (weight**2 * chosen).sum(1))
    e, error = efficiency_and_error(passed, Counts(weight.sum(1), (weight**2).sum(1)))
    # A spread of 1000 trials is known to 1/sqrt(2000) = 2.2 %.
    assert e.std() == pytest.approx(error.mean(), rel=4.0 / np.sqrt(2 * trials))
