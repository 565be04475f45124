from __future__ import annotations

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.hists import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_filled_apart(kind: str) -> None:
    pull, spread = hists.pull(), hists.uncertainty()
    hists.fill_pull(pull, kind=kind, pull=[-0.05, 30.0])
    hists.fill_uncertainty(spread, kind=kind, uncertainty=[0.1, 0.0], weight=[2.0, 3.0])
    place = KINDS.index(kind)
    assert pull.values(flow=True).sum(axis=1).tolist() == [2.0 * (i == place) for i in range(3)]
    assert spread.values(flow=True).sum(axis=1).tolist() == [5.0 * (i == place) for i in range(3)]
    assert spread.values(flow=True)[place, 0] == 3.0  # 0 is below the axis


def test_rapidity_bins_meet_the_borders_of_the_transition_slice() -> None:
    filled = hists.uncertainty_rapidity()
    hists.fill_uncertainty_rapidity(filled, rapidity=[1.25, -1.55], uncertainty=[0.6, 0.7])
    assert filled.values().sum() == 2.0
    for border in (-1.6, -1.2, 1.2, 1.6):
        assert np.isclose(filled.axes[0].edges, border, atol=1e-9).any()
