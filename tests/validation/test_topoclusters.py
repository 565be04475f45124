"""What the calibration of a million clusters must show beside the exact response density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[[str, object], None]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(3600)]

POPULATED = 1000  # effective entries of a bin
VARIABLES = ("true_energy", "mu", "n_pv", "rapidity")


@pytest.fixture(scope="module")
def study(full_run: Callable[..., Any]) -> Any:
    return full_run("topoclusters", "--workers", "2").metrics["clusters"]


def scales(study: Any, quantity: str, key: str) -> tuple[Any, Any]:
    found = study[quantity]
    populated = np.array(found["Calibrated"]["entries"]) >= POPULATED
    calibrated, best = (
        np.array(found[scale][key], dtype=float)[populated]
        for scale in ("Calibrated", "Best possible")
    )
    return calibrated, best


@pytest.mark.parametrize("variable", VARIABLES)
def test_linearity_beside_the_oracle(study: Any, record_property: Record, variable: str) -> None:
    calibrated, best = scales(study, f"linearity_{variable}", "median")
    worst = float(np.max(np.abs(calibrated - best)))
    record_property("largest distance to the oracle's median", round(worst, 4))
    assert worst < 0.03


@pytest.mark.parametrize("variable", VARIABLES)
def test_resolution_beside_the_oracle(study: Any, record_property: Record, variable: str) -> None:
    calibrated, best = scales(study, f"resolution_{variable}", "resolution")
    ratio = float(np.max(calibrated / best))
    record_property("largest resolution / oracle's resolution", round(ratio, 4))
    assert ratio < 1.1


def test_closure_in_calibrated_energy(study: Any, record_property: Record) -> None:
    calibrated, _ = scales(study, "linearity_calibrated_energy", "median")
    worst = float(np.max(np.abs(calibrated - 1.0)))
    record_property("largest non-closure", round(worst, 4))
    assert worst < 0.03


def test_pulls_and_coverage(study: Any, record_property: Record) -> None:
    width = study["pulls"]["total"]["width"]
    fraction = study["coverage"]["total"]["fraction"]
    record_property("width of the total pulls", round(width, 3))
    record_property("coverage at 68 % and 95 %", [round(value, 3) for value in fraction])
    assert abs(width - 1.0) < 0.05
