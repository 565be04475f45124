from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.hists.axes import VARIABLES
from hepcalib.hists.closure import closure, fill_closure, fill_sampled_spectrum, sampled_spectra


def test_calibrated_over_true_is_filled() -> None:
    histogram: Any = closure(["A", "B"])
    fill_closure(
        histogram, method="B", true=[10.0, 20.0], calibrated=[8.0, 30.0], weight=[0.5, 2.0]
    )
    assert histogram["B", complex(0, 10.0), complex(0, 0.8)].value == 0.5
    assert histogram["B", complex(0, 20.0), complex(0, 1.5)].value == 2.0
    assert histogram["A", sum, sum].value == 0.0


def test_bins_are_fine_and_divide_those_that_are_shown() -> None:
    truth, ratio = closure(["A"]).axes[1:]
    assert np.isin(VARIABLES["true_energy"].edges, truth.edges).all()
    assert np.diff(np.log(truth.edges)).max() <= np.log(1.12)
    inner = ratio.edges[(ratio.edges >= 0.05) & (ratio.edges <= 20.0)]
    assert len(inner) == 401
    assert np.diff(np.log(inner)) == pytest.approx(np.log(400.0) / 400.0)
    assert (truth.metadata, ratio.metadata) == ("log", "log")


def test_what_runs_away_is_on_the_axis() -> None:
    histogram: Any = closure(["A"])
    fill_closure(histogram, method="A", true=[10.0, 10.0], calibrated=[2.9e8, 1e-4])
    assert histogram["A", sum, ::sum].value == 2.0


def test_only_the_nominal_spectrum_is_filled() -> None:
    histogram: Any = sampled_spectra(["nominal", "uniform"])
    fill_sampled_spectrum(histogram, [1.0, 1.0, 5.0])
    assert histogram["nominal", sum].value == 3.0
    assert histogram["uniform", sum].value == 0.0


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="each only once"):
        closure(["A", "A"])
    with pytest.raises(DataError, match="has no category 'C'"):
        fill_closure(closure(["A"]), method="C", true=[1.0], calibrated=[1.0])
    with pytest.raises(DataError, match="1 of 1 values cannot be filled"):
        fill_closure(closure(["A"]), method="A", true=[np.nan], calibrated=[1.0])
