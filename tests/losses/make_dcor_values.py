"""Print what dcor finds for small samples: the reference of `test_distance_correlation.py`.

    python tests/losses/make_dcor_values.py > tests/losses/dcor_values.json

The samples are printed beside the values, so that the tests need neither dcor nor these random
numbers. dcor compiles its functions when it is imported, which takes longer than all tests of the
distance correlation.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dcor
import numpy as np

ROWS = 100


def main() -> None:
    """Write the samples and their squared distance correlations as JSON."""
    random = np.random.default_rng(1)
    x, noise = random.random((2, ROWS)).round(3)
    y = ((x - 0.3) ** 2 + 0.2 * noise).round(4)
    cases = {
        "one nuisance": (x, y),
        "one nuisance with ties": (np.floor(6 * x), np.floor(9 * y)),
        "two nuisances": (x, np.stack((y, np.sin(30 * x).round(3)), axis=1)),
    }
    json.dump({name: _case(*pair) for name, pair in cases.items()}, sys.stdout)
    sys.stdout.write("\n")


def _case(x: Any, y: Any) -> dict[str, Any]:
    return {
        "biased": float(dcor.distance_correlation_sqr(x, y)),
        "unbiased": float(dcor.u_distance_correlation_sqr(x, y)),
        "x": x.tolist(),
        "y": y.tolist(),
    }


if __name__ == "__main__":
    main()
