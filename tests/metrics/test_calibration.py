from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from hist import Hist


def lognormal(width: float, *, median: float = 1.0, rows: int = 100_000) -> Hist[Any]:
    rng = np.random.default_rng(11)
    filled = hists.response("mu", scales=["EM", "LCW"])
    response = median * np.exp(rng.normal(0.0, width, rows))
    hists.fill_response(filled, scale="EM", values=np.full(rows, 15.0), response=response)
    return filled


def test_resolution_of_a_lognormal_is_sinh_of_its_width() -> None:
    width = 0.1 * np.log(10.0)
    found = metrics.resolution(lognormal(width))["EM"]
    assert found.resolution[1] == pytest.approx(0.23230, abs=4.0 * found.resolution_error[1])
    # Asymptotic error of (q84 - q16)/2 of a normal, times cosh for the exponential.
    p, density = 0.158655, 0.241971
    sigma = width * np.sqrt(2.0 * p * (1.0 - 2.0 * p) / (4.0 * 100_000)) / density
    assert found.resolution_error[1] == pytest.approx(sigma, rel=0.15)


def test_resolution_is_not_that_of_half_the_width() -> None:
    found = metrics.resolution(lognormal(0.05 * np.log(10.0)))["EM"]
    assert abs(found.resolution[1] - 0.23230) > 20.0 * found.resolution_error[1]


def test_median_is_that_of_the_sample() -> None:
    found = metrics.linearity(lognormal(0.3, median=1.1))["EM"]
    assert found.median[1] == pytest.approx(1.1, abs=4.0 * found.median_error[1])
    exact = 1.1 * 0.3 * np.sqrt(np.pi / 2.0 / 100_000)
    assert found.median_error[1] == pytest.approx(exact, rel=0.15)
    assert found.linearity[1] == found.median[1] - 1.0
    assert found.entries[1] == pytest.approx(100_000)


def test_empty_bins_and_scales_are_nan() -> None:
    filled = lognormal(0.3)
    for result in (metrics.linearity(filled), metrics.resolution(filled)):
        assert list(result) == ["EM", "LCW"]
        assert np.isnan(result["LCW"][-3]).all()
        assert np.isnan(result["LCW"][-2]).all()
        assert result["LCW"].entries.tolist() == [0.0] * 8
        assert np.isfinite(result["EM"][-3]).tolist() == [i == 1 for i in range(8)]


def test_results_carry_their_variable_and_bins() -> None:
    filled = hists.response("true_energy", scales=["EM"])
    found = metrics.linearity(filled)["EM"]
    assert found.variable == "true_energy"
    assert found.centres == pytest.approx(np.sqrt(found.edges[1:] * found.edges[:-1]))
    assert "dep" in found.quantity


def test_the_smallest_sample_can_be_chosen() -> None:
    filled = lognormal(0.3, rows=6)
    assert np.isnan(metrics.linearity(filled)["EM"].median[1])
    assert np.isfinite(metrics.linearity(filled, minimum_entries=5)["EM"].median[1])


def test_spectra_and_their_ratio() -> None:
    filled = hists.spectrum(["True", "EM"])
    hists.fill_spectrum(filled, scale="True", values=np.full(100, 10.0))
    hists.fill_spectrum(filled, scale="EM", values=np.full(25, 10.0), weight=np.full(25, 2.0))
    found = metrics.spectra(filled, reference="True")
    place = int(np.flatnonzero(found["True"].density)[0])
    widths = np.diff(found["True"].edges)
    assert found["True"].density[place] * widths[place] == pytest.approx(100.0)
    assert found["EM"].density_error[place] * widths[place] == pytest.approx(10.0)
    assert found["EM"].ratio[place] == pytest.approx(0.5)
    assert found["EM"].ratio_error[place] == pytest.approx(0.5 * np.hypot(0.2, 0.1))
    assert np.isnan(np.delete(found["EM"].ratio, place)).all()


def test_spectra_need_a_known_reference() -> None:
    with pytest.raises(ConfigError, match="unknown reference scale 'true'"):
        metrics.spectra(hists.spectrum(["True", "EM"]), reference="true")
