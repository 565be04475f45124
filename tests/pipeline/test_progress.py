from __future__ import annotations

import warnings

import pytest

from hepcalib.exceptions import CollapseWarning
from hepcalib.pipeline.progress import naming_collapse


def warn(category: type[Warning], *, model: str) -> None:
    with naming_collapse(model):
        warnings.simplefilter("always")
        warnings.warn("the score has collapsed", category, stacklevel=1)


def test_the_model_is_named() -> None:
    with pytest.warns(CollapseWarning, match="^model 'disco': the score has collapsed$"):
        warn(CollapseWarning, model="disco")


def test_other_warnings_stay_as_they_are() -> None:
    with pytest.warns(RuntimeWarning, match="^the score has collapsed$"):
        warn(RuntimeWarning, model="disco")
