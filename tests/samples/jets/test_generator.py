from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.exceptions import HepcalibError
from hepcalib.samples.jets.generator import PROCESSES, HardEvents, generate, next_events, pythia
from hepcalib.samples.jets.particles import wrap


def columns(events: HardEvents) -> list[np.ndarray[Any, Any]]:
    return [events.weight, *events.stable.momenta, events.stable.pdg_id, events.quarks]


@pytest.mark.parametrize("name", PROCESSES)
def test_block_does_not_depend_on_what_was_made_before(name: str) -> None:
    process = PROCESSES[name]
    first = generate(process, 4, seed=77)
    generate(process, 3, seed=78)
    again = generate(process, 4, seed=77)
    for a, b in zip(columns(first), columns(again), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    shorter = generate(process, 2, seed=77)
    kept = first.stable.momenta.row < 2
    assert np.array_equal(shorter.stable.momenta.px, first.stable.momenta.px[kept])


@pytest.mark.parametrize("name", PROCESSES)
def test_momentum_and_neutrinos(name: str) -> None:
    events = generate(PROCESSES[name], 20, seed=5)
    assert not np.any(np.isin(np.abs(events.stable.pdg_id), (12, 14, 16)))
    assert np.all(events.stable.momenta.mass < 2.0)
    momenta = events.stable.momenta
    missing = np.hypot(
        np.bincount(momenta.row, weights=momenta.px), np.bincount(momenta.row, weights=momenta.py)
    )
    balanced = np.median(missing) < 60.0  # what is beyond |eta| = 4, and b and c decays
    assert balanced == (name != "wprime")  # there the Z decays to neutrinos


def test_quarks_make_the_w_and_the_top() -> None:
    for name, bosons in (("qcd", 0), ("wprime", 1), ("top", 2)):
        quarks = generate(PROCESSES[name], 30, seed=5).quarks
        assert quarks.shape == (30, bosons, 3, 2)
        assert np.all(np.isfinite(quarks[:, :, :2]))
        assert np.all(np.isnan(quarks[:, :, 2])) == (name != "top")
    # The third quark goes with its own W: mostly nearer than the other top's.
    phi = quarks[..., 1]
    own = np.abs(wrap(phi[:, :, 2] - phi[:, :, 0]))
    other = np.abs(wrap(phi[:, ::-1, 2] - phi[:, :, 0]))
    assert np.mean(own < other) > 0.8


def test_pt_hat_is_sampled_evenly() -> None:
    process = PROCESSES["qcd"]
    instance = pythia(process.settings)
    instance.rndm.init(9)
    batch = next_events(instance, 60)
    pt_hat = np.sqrt(np.asarray(batch.info.pT2Hat))
    # Evenly over 750 GeV: that none of 60 is in the first or last 100 has a probability of 2e-4.
    assert 150 <= pt_hat.min() < 250
    assert 800 < pt_hat.max() <= 900
    weight = np.asarray(batch.info.weights[:, 0])
    np.testing.assert_allclose(weight, (300.0 / pt_hat) ** 5.5, rtol=1e-3)  # (4.8 GeV / 150 GeV)^2


class Stumbling:
    """A generator that gives up some events."""

    def __init__(self, gives: list[int]) -> None:
        self.gives = gives
        self.number = 0

    def nextBatch(self, events: int) -> ak.Array:
        made = min(self.gives.pop(0), events)
        self.number += made
        return ak.Array({"n": np.arange(self.number - made, self.number)})


def test_events_given_up_are_made_up_for() -> None:
    assert next_events(Stumbling([3, 1, 9]), 6).n.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(HepcalibError, match="gave up 3 of 3 events"):
        next_events(Stumbling([3, 0]), 6)


def test_a_setting_that_pythia_does_not_know() -> None:
    with pytest.raises(HepcalibError, match="does not know the setting 'HardQCD:al = on'"):
        pythia(("HardQCD:al = on",))
