from __future__ import annotations

import sys

import pytest

from hepcalib.exceptions import HepcalibError
from hepcalib.samples.jets import extras, generator, simulate


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.fastjet.cache_clear()
    for name, load in (("pythia8mc", extras.pythia), ("fastjet", extras.fastjet)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(HepcalibError, match=rf"'{name}'.*pip install hepcalib\[pythia\]"):
                load()
    assert extras.fastjet().__name__ == "fastjet"


def test_missing_library_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    generator.pythia.cache_clear()
    with pytest.raises(HepcalibError, match="pip install"):
        simulate("qcd", 1, seed=1, pool=7)
