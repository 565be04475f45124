from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hepcalib.calibration import calibrated, log10_response, sigma_response
from hepcalib.exceptions import DataError

MEASURED, TRUE = [8.0, 0.5, 30.0], [10.0, 1.0, 20.0]


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_calibrating_with_the_true_response_gives_the_true_energy(array: Any) -> None:
    measured, true = array(MEASURED), array(TRUE)
    target = log10_response(measured, true)
    assert type(target) is type(measured)
    assert target.tolist() == pytest.approx([math.log10(0.8), math.log10(0.5), math.log10(1.5)])
    assert calibrated(measured, 10**target).tolist() == pytest.approx(TRUE)


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_sigma_is_the_derivative_of_the_power_of_ten(array: Any) -> None:
    sigma = sigma_response(array([0.8]), array([0.1]))
    derivative = (10 ** (math.log10(0.8) + 1e-6) - 10 ** (math.log10(0.8) - 1e-6)) / 2e-6
    assert sigma.tolist() == pytest.approx([0.1 * derivative], rel=1e-6)
    assert sigma.tolist() == pytest.approx([0.8 * 0.230259], rel=1e-5)


@pytest.mark.parametrize("array", [np.array, torch.tensor])
@pytest.mark.parametrize("value", [0.0, -2.0, math.nan, math.inf])
def test_energies_that_have_no_response_are_refused(array: Any, value: float) -> None:
    good, bad = array([1.0, 2.0]), array([1.0, value])
    with pytest.raises(DataError, match=rf"true: 1 values are .*{value} in row 1"):
        log10_response(good, bad)
    with pytest.raises(DataError, match="measured: 1 values"):
        log10_response(bad, good)
    with pytest.raises(DataError, match="response: 1 values"):
        calibrated(good, bad)


def test_gradient_goes_through() -> None:
    response = torch.tensor([0.8], requires_grad=True)
    calibrated(torch.tensor([4.0]), response).sum().backward()  # type: ignore[no-untyped-call]
    assert response.grad is not None
    assert response.grad.item() == pytest.approx(-4.0 / 0.64)
