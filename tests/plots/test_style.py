from __future__ import annotations

import matplotlib as mpl

from hepcalib.plots.style import looks, style


def test_known_scales_look_the_same_in_every_figure() -> None:
    assert looks(["EM", "Calibrated"])["Calibrated"] == looks(["Calibrated"])["Calibrated"]


def test_unknown_names_are_told_apart() -> None:
    found = looks([f"tagger {place}" for place in range(7)])
    assert len({look.colour for look in found.values()}) == 7
    assert len({look.marker for look in found.values()}) == 7
    assert found["tagger 3"].label == "tagger 3"


def test_style_ends_with_its_context() -> None:
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["xtick.direction"] == "in"
    assert mpl.rcParams["font.size"] == before
