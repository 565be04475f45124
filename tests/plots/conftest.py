"""Filled histograms of each study, small but with everything in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists

if TYPE_CHECKING:
    from hist import Hist


@pytest.fixture(scope="session")
def responses() -> Hist[Any]:
    rng = np.random.default_rng(61)
    filled = hists.response("true_energy", scales=["EM", "LCW", "Calibrated", "Mine"])
    energy = 10.0 ** rng.uniform(np.log10(2.0), 2.5, 4000)
    for scale, width in (("EM", 0.3), ("Calibrated", 0.2), ("Mine", 0.25)):
        response = np.exp(rng.normal(0.0, width, 4000))
        hists.fill_response(filled, scale=scale, values=energy, response=response)
    return filled


@pytest.fixture(scope="session")
def spectrum() -> Hist[Any]:
    rng = np.random.default_rng(62)
    filled = hists.spectrum(["True", "EM"])
    for scale in ("True", "EM"):
        hists.fill_spectrum(filled, scale=scale, values=rng.exponential(20.0, 2000))
    return filled


@pytest.fixture(scope="session")
def pull() -> Hist[Any]:
    filled = hists.pull()
    hists.fill_pull(filled, kind="total", pull=np.random.default_rng(63).normal(size=5000))
    return filled


@pytest.fixture(scope="session")
def uncertainty() -> Hist[Any]:
    rng = np.random.default_rng(64)
    filled = hists.uncertainty()
    sigma = 10.0 ** np.concatenate([rng.normal(-0.8, 0.1, 9000), rng.normal(-0.2, 0.05, 2000)])
    hists.fill_uncertainty(filled, kind="total", uncertainty=sigma)
    hists.fill_uncertainty(filled, kind="statistical", uncertainty=np.zeros(10))
    return filled


@pytest.fixture(scope="session")
def scores() -> Hist[Any]:
    rng = np.random.default_rng(65)
    filled = hists.score("mass", taggers=["plain", "disco"])
    for tagger in ("plain", "disco"):
        for label, mean in (("signal", 1.0), ("background", -1.0)):
            score = 1.0 / (1.0 + np.exp(-rng.normal(mean, 1.5, 3000)))
            mass = 50.0 + rng.exponential(60.0, 3000)
            hists.fill_score(filled, tagger=tagger, label=label, score=score, values=mass)
    return filled
