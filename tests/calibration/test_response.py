from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hepcalib.calibration.response import (
    TARGETS,
    calibrated,
    log10_response,
    sigma_response,
    target,
    to_response,
)
from hepcalib.exceptions import ConfigError, DataError

MEASURED, TRUE = [8.0, 0.5, 30.0], [10.0, 1.0, 20.0]


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_calibrating_with_the_true_response_gives_the_true_energy(array: Any) -> None:
    measured, true = array(MEASURED), array(TRUE)
    target = log10_response(measured, true)
    assert type(target) is type(measured)
    assert target.tolist() == pytest.approx([math.log10(0.8), math.log10(0.5), math.log10(1.5)])
    assert calibrated(measured, 10**target).tolist() == pytest.approx(TRUE)


@pytest.mark.parametrize("variable", TARGETS)
@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_every_target_leads_back_to_the_response(array: Any, variable: str) -> None:
    measured, true = array(MEASURED), array(TRUE)
    value = target(measured, true, variable)
    response = to_response(value, measured, variable)
    assert type(value) is type(response) is type(measured)
    assert response.tolist() == pytest.approx([0.8, 0.5, 1.5])


def test_targets_are_those_of_their_names() -> None:
    values = {name: target(np.array([8.0]), np.array([10.0]), name).item() for name in TARGETS}
    expected = {"response": 0.8, "log10_response": math.log10(0.8), "log10_truth": 1.0}
    assert values == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"unknown target 'log_response'.*'log10_response'"):
        target(np.array([8.0]), np.array([10.0]), "log_response")
    with pytest.raises(ConfigError, match="unknown target"):
        to_response(np.array([8.0]), np.array([10.0]), "energy")


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
    for variable in TARGETS:
        with pytest.raises(DataError, match=rf"true: 1 values are .*{value} in row 1"):
            target(good, bad, variable)
        with pytest.raises(DataError, match="measured: 1 values"):
            target(bad, good, variable)
        with pytest.raises(DataError, match="measured: 1 values"):
            to_response(good, bad, variable)
    with pytest.raises(DataError, match="response: 1 values"):
        calibrated(good, bad)


def test_gradient_goes_through() -> None:
    response = torch.tensor([0.8], requires_grad=True)
    calibrated(torch.tensor([4.0]), response).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert response.grad is not None
    assert response.grad.item() == pytest.approx(-4.0 / 0.64)
