"""The contract of every penalty: (score, nuisance, *, weight) -> scalar."""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from hepcalib import losses
from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=losses.PENALTIES)
def penalty(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Each penalty; one that draws numbers draws the same ones in each call."""
    function: Callable[..., Tensor] = getattr(losses, request.param)

    @functools.wraps(function)
    def call(*args: Tensor, **keywords: Any) -> Tensor:
        torch.manual_seed(4)
        return function(*args, **keywords)

    return call


def jets(n: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    score, mass, weight = torch.rand(3, n, generator=generator)
    return score, 50 + 250 * mass, 0.5 + weight


def test_exports() -> None:
    assert {"PENALTIES", *losses.PENALTIES} <= set(losses.__all__)


def test_signature(penalty: Callable[..., Tensor]) -> None:
    parameters = inspect.signature(penalty).parameters
    assert list(parameters)[:2] == ["score", "nuisance"]
    assert parameters["weight"].kind is inspect.Parameter.KEYWORD_ONLY
    for name in list(parameters)[2:]:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is not inspect.Parameter.empty


def test_scalar_with_a_finite_gradient(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    score.requires_grad_()
    value = penalty(score, mass, weight=weight)
    (gradient,) = torch.autograd.grad(value, score)
    assert value.shape == ()
    assert value.dtype == score.dtype
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient != 0).any())


def test_small_for_an_independent_pair_only(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    leaking = (mass - 50) / 250
    independent = float(penalty(score, mass, weight=weight))
    assert abs(independent) < 0.2 * float(penalty(leaking, mass, weight=weight))


def test_scale_of_the_weights_does_not_matter(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    expected = penalty(score, mass, weight=weight)
    torch.testing.assert_close(penalty(score, mass, weight=1024 * weight), expected)
    torch.testing.assert_close(
        penalty(score, mass, weight=torch.full_like(weight, 3.0)), penalty(score, mass)
    )


def test_background_only_by_weight(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    background = torch.arange(500) % 3 > 0
    expected = penalty(score[background], mass[background], weight=weight[background])
    value = penalty(score, mass, weight=weight * background)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("name", ["score", "nuisance", "weight"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite(penalty: Callable[..., Tensor], name: str, value: float) -> None:
    arrays = dict(zip(("score", "nuisance", "weight"), jets(), strict=True))
    arrays[name][[3, 7]] = value
    with pytest.raises(DataError, match=rf"{name} is not finite in 2 of 500 .* index 3: {value}"):
        penalty(arrays["score"], arrays["nuisance"], weight=arrays["weight"])


def test_negative_weight(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    weight[5] = -0.25
    with pytest.raises(DataError, match=r"weight is negative .* index 5: -0\.25"):
        penalty(score, mass, weight=weight)


def test_errors_with_a_score_in_training(penalty: Callable[..., Tensor]) -> None:
    score, mass, _ = jets()
    score[3] = math.nan
    with pytest.raises(DataError, match="score is not finite"):
        penalty(score.requires_grad_(), mass)


def test_shapes(penalty: Callable[..., Tensor]) -> None:
    score, mass, weight = jets()
    with pytest.raises(ShapeError, match=r"score has shape \(500,\), nuisance \(499,\)"):
        penalty(score, mass[:-1])
    with pytest.raises(ShapeError, match=r"weight \(1,\)"):
        penalty(score, mass, weight=weight[:1])
    for column in (score[:, None], score[0]):
        with pytest.raises(ShapeError, match="score has shape"):
            penalty(column, mass)
    with pytest.raises(ShapeError, match="nuisance"):
        penalty(score, mass[:, None, None])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_on_a_gpu(penalty: Callable[..., Tensor]) -> None:
    results = []
    for device in ("cpu", "cuda"):
        score, mass, weight = (tensor.to(device) for tensor in jets(5000))
        score.requires_grad_()
        value = penalty(score, mass, weight=weight)
        assert value.device == score.device
        (gradient,) = torch.autograd.grad(value, score)
        results.append((value.cpu(), gradient.cpu()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-8)
