from __future__ import annotations

import pickle

import pytest

from hepcalib import exceptions
from hepcalib.exceptions import HepcalibError, suggestion

ERRORS = [name for name in exceptions.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_ours_and_travels_between_processes(name: str) -> None:
    error = getattr(exceptions, name)("what and where")
    assert isinstance(error, HepcalibError)
    assert not isinstance(error, OSError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "what and where"


def test_suggestion_names_the_nearest() -> None:
    assert suggestion("ParticelNet", ["PFN", "ParticleNet"]) == (
        "Known: PFN, ParticleNet. Did you mean 'ParticleNet'?"
    )
    assert suggestion("xyz", ["PFN"]) == "Known: PFN."
