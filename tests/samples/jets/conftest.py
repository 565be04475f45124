from __future__ import annotations

from typing import Any

import pytest

from hepcalib.samples.jets import simulate

Sample = dict[str, Any]

POOL = 100  # minimum-bias events: enough for a test, made in a third of a second


@pytest.fixture(scope="session")
def qcd() -> Sample:
    return simulate("qcd", 60, seed=3, pool=POOL)


@pytest.fixture(scope="session")
def wprime() -> Sample:
    return simulate("wprime", 60, seed=3, pool=POOL)


@pytest.fixture(scope="session")
def top() -> Sample:
    return simulate("top", 40, seed=3, pool=POOL)
