from __future__ import annotations

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import DataError


def test_response_counts_every_row_once() -> None:
    rng = np.random.default_rng(3)
    energy, response = rng.uniform(0.1, 3000.0, 1000), rng.normal(1.0, 2.0, 1000)
    filled = hists.response("true_energy", scales=["EM", "LCW"])
    hists.fill_response(filled, scale="LCW", values=energy, response=response)
    assert filled.values(flow=True)[1].sum() == 1000
    assert filled.values(flow=True)[0].sum() == 0


def test_negative_responses_go_below_and_infinite_ones_above() -> None:
    filled = hists.response("mu", scales=["EM"])
    hists.fill_response(filled, scale="EM", values=[5.0] * 3, response=[-1.0, 0.0, np.inf])
    assert filled.values(flow=True)[0, 1, [0, -1]].tolist() == [2.0, 1.0]


def test_an_unknown_scale_is_refused() -> None:
    filled = hists.response("mu", scales=["EM", "LCW"])
    with pytest.raises(DataError, match=r"no category 'LWC'. Known: EM, LCW"):
        hists.fill_response(filled, scale="LWC", values=[5.0], response=[1.0])


def test_chunks_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(4)
    energy, response, weight = rng.uniform(0.3, 2000.0, (3, 500))
    whole = hists.response("true_energy", scales=["EM"])
    hists.fill_response(whole, scale="EM", values=energy, response=response, weight=weight)
    total = hists.response("true_energy", scales=["EM"])
    for rows in np.array_split(np.arange(500), 7):
        part = hists.response("true_energy", scales=["EM"])
        hists.fill_response(
            part, scale="EM", values=energy[rows], response=response[rows], weight=weight[rows]
        )
        total = total + part
    # Sums of at most 500 doubles in another order.
    assert np.allclose(total.values(flow=True), whole.values(flow=True), rtol=500 * 2.3e-16)


@pytest.mark.parametrize(("quantity", "unit"), [("energy", "Cluster energy"), ("pt", "Jet")])
def test_spectra_know_what_they_count(quantity: str, unit: str) -> None:
    filled = hists.spectrum(["True", "EM"], quantity="energy" if quantity == "energy" else "pt")
    hists.fill_spectrum(filled, scale="EM", values=[100.0, 50.0], weight=[2.0, 1.0])
    assert filled.axes[1].label.startswith(unit)
    assert filled.axes[1].label.endswith("[GeV]")
    assert filled.values()[1].sum() == 3.0
