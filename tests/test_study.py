from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from hepcalib.study import plain


class Point(NamedTuple):
    value: float
    errors: np.ndarray[tuple[int], np.dtype[np.float64]]


def test_plain_becomes_json() -> None:
    result = {"a": Point(np.float64(1.5), np.array([1.0, np.nan])), 2: (True, None, np.int64(3))}
    assert json.loads(json.dumps(plain(result), allow_nan=False)) == {
        "a": {"value": 1.5, "errors": [1.0, None]},
        "2": [True, None, 3],
    }
