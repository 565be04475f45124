from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.features import transforms
from hepcalib.features.transforms import Chain, Clip, Identity, Log10, SignedCbrt, Standardise

CONFIGS: list[dict[str, Any]] = [
    {"name": "Identity"},
    {"name": "Log10", "floor": 0.01},
    {"name": "Log10", "floor": None},
    {"name": "SignedCbrt"},
    {"name": "Clip", "low": -0.5, "high": 1.5},
    {"name": "Standardise"},
    {"name": "Chain", "steps": [{"name": "Log10", "floor": 0.01}, {"name": "Standardise"}]},
]


@pytest.fixture
def column() -> torch.Tensor:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(3)).exp() - 0.2
    return values.float()


def test_every_export_is_covered() -> None:
    assert {config["name"] for config in CONFIGS} == set(transforms.__all__)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_config_and_state_rebuild_the_transform(
    config: dict[str, Any], column: torch.Tensor
) -> None:
    fitted = transforms.build(config).fit(column)
    again = transforms.build(fitted.config)
    again.load_state_dict(fitted.state_dict())
    assert fitted.config == config
    assert torch.equal(again(column), fitted(column))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_shape_and_neighbours_do_not_matter(config: dict[str, Any], column: torch.Tensor) -> None:
    fitted = transforms.build(config).fit(column)
    assert torch.equal(fitted(column.unsqueeze(1)).squeeze(1), fitted(column))
    assert torch.allclose(fitted(column[5:8]), fitted(column)[5:8], rtol=1e-6)  # SIMD or not
    assert fitted(column[:0]).shape == (0,)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_result_is_finite_for_extreme_values(config: dict[str, Any], column: torch.Tensor) -> None:
    fitted = transforms.build(config).fit(column)
    extreme = torch.tensor([-1e30, -1.0, -0.0, 0.0, 1e-40, 1.0, 1e30])
    assert torch.isfinite(fitted(extreme)).all()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_fit_refuses_non_finite_values(config: dict[str, Any], bad: float) -> None:
    with pytest.raises(DataError, match=r"1 training values are not finite, first .* at 1"):
        transforms.build(config).fit(torch.tensor([1.0, bad, 2.0]))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_fit_refuses_an_empty_column(config: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="empty column"):
        transforms.build(config).fit(torch.empty(0))


def test_closed_forms() -> None:
    x = torch.tensor([-8.0, 0.0, 0.001, 100.0])
    assert torch.equal(Identity()(x), x)
    assert torch.allclose(SignedCbrt()(x), torch.tensor([-2.0, 0.0, 0.1, 4.6415888]))
    assert torch.allclose(Log10(floor=0.01)(x), torch.tensor([-2.0, -2.0, -2.0, 2.0]))
    assert torch.equal(Clip(low=-1, high=2)(x), torch.tensor([-1.0, 0.0, 0.001, 2.0]))


def test_learned_floor_is_the_smallest_positive_value() -> None:
    fitted = Log10().fit(torch.tensor([-3.0, 0.0, 0.5, 8.0]))
    assert float(fitted(torch.tensor(-3.0))) == pytest.approx(math.log10(0.5))
    with pytest.raises(DataError, match="none of 2 training values is positive"):
        Log10().fit(torch.tensor([-1.0, 0.0]))


def test_standardise_large_values_accumulates_in_float64() -> None:
    values = 2900 + 1000 * torch.randn(200_000, generator=torch.Generator().manual_seed(4))
    result = Standardise().fit(values)(values).double()
    assert abs(float(result.mean())) < 1e-6
    assert float(result.std()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e6])
def test_constant_column_keeps_unit_scale(value: float) -> None:
    fitted = Standardise().fit(torch.full((1000,), value))
    assert float(fitted.std) == 1.0
    assert float(fitted(torch.tensor(value))) == pytest.approx(0.0, abs=1e-6)


def test_narrow_column_is_not_taken_for_a_constant() -> None:
    values = 1 + 1e-4 * torch.randn(1000, generator=torch.Generator().manual_seed(5))
    assert float(Standardise().fit(values).std) == pytest.approx(1e-4, rel=0.1)


def test_chain_fits_each_step_on_the_output_of_those_before() -> None:
    values = torch.tensor([1.0, 10.0, 100.0])
    result = Chain([Log10(floor=0.1), Standardise()]).fit(values)(values)
    assert torch.allclose(result, torch.tensor([-1.5, 0.0, 1.5]) * math.sqrt(2 / 3))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "Standardize"}, "unknown transform 'Standardize'.*Did you mean 'Standardise'"),
        ({"name": "build"}, "unknown transform 'build'"),
        ({"name": "Clip", "low": 0.0, "hihg": 1.0}, "no keyword 'hihg'.*Did you mean 'high'"),
        ({"name": "Clip", "low": 2.0, "high": 1.0}, r"low 2.0 must be below high 1.0"),
        ({"name": "Log10", "floor": 0.0}, "floor 0.0 must be positive"),
        ({"name": "Log10", "floor": math.inf}, "floor inf must be positive"),
    ],
)
def test_wrong_configurations_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transforms.build(config)
