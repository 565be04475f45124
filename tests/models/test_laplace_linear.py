from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import decompose
from hepcalib.models import MLP, Head, Model
from hepcalib.models.dropout import Dropout
from hepcalib.models.laplace import Laplace
from hepcalib.models.model import Labelled


class KnownWidth(Head):
    """A normal distribution of known standard deviation."""

    outputs = 1

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width

    def distribution(self, raw: Tensor) -> Normal:
        mean = raw.squeeze(-1)
        return Normal(mean, torch.full_like(mean, self.width), validate_args=False)


class LinearModel(Model):
    """y = w x, without a constant."""

    def __init__(self, inputs: int, width: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 1, bias=False)
        self.head = KnownWidth(width)

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.features is not None
        raw: Tensor = self.linear(batch.features)
        return raw


def finished(model: Laplace, sample: Labelled) -> Laplace:
    model.finish(sample, sample)
    return model


def normal_sample(rows: int, inputs: int, width: float) -> Labelled:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, generator=generator, dtype=torch.float64)
    return Labelled(Batch(x), x.sum(1) + width * noise)


def minimise(model: Laplace, sample: Labelled) -> None:
    """Minimise what a training minimises, to the end."""
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-16
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        predicted = model(sample.batch)
        total = model.loss(predicted, sample.target).mean()
        total = total + model.regulariser(predicted, sample.target, rows=len(sample.target))
        total.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch does not annotate it


def test_linear_model_has_the_exact_posterior() -> None:
    rows, inputs, width, tau = 50, 3, 0.5, 2.0
    sample = normal_sample(rows, inputs, width)
    plain = MLP(features=inputs, hidden=(), head=KnownWidth(width)).double()
    model = Laplace(plain, prior_precision=tau, draws=4000).double()
    minimise(model, sample)
    finished(model.eval(), sample)
    assert sample.batch.features is not None
    x = torch.cat([sample.batch.features, torch.ones(rows, 1, dtype=torch.float64)], dim=1)
    identity = torch.eye(inputs + 1, dtype=torch.float64)
    covariance = torch.linalg.inv(x.mT @ x / width**2 + tau * identity)
    weights = torch.linalg.solve(x.mT @ x + width**2 * tau * identity, x.mT @ sample.target)
    torch.testing.assert_close(model.covariance(), covariance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(model._weights()[0], weights, rtol=1e-6, atol=1e-7)
    without_prior = torch.linalg.lstsq(x, sample.target.unsqueeze(1)).solution[:, 0]
    assert not torch.allclose(without_prior, weights, rtol=1e-3)
    # relative error of a standard deviation 1 / sqrt(2 draws) = 1.1 %
    with torch.no_grad():
        found = decompose(model.members(sample.batch)).statistical
    exact = (x @ covariance * x).sum(1).sqrt()
    torch.testing.assert_close(found, exact, rtol=5 / 8000**0.5, atol=0)


def test_correlated_weights_are_wider_than_a_mean_field_makes_them() -> None:
    # one example x = (1, 1) of unit noise, unit prior: precision [[2, 1], [1, 2]]
    sample = Labelled(Batch(torch.ones(1, 2)), torch.ones(1))
    model = finished(Laplace(LinearModel(2)).eval(), sample)
    deviation = model.covariance().diagonal().sqrt().tolist()
    assert deviation == pytest.approx([0.8165] * 2, abs=1e-4)
    assert deviation != pytest.approx([0.7071] * 2, rel=0.1)


def test_statistical_uncertainty_is_that_of_least_squares() -> None:
    rows, inputs, width = 400, 5, 0.5
    sample = normal_sample(rows, inputs, width)
    model = Laplace(LinearModel(inputs, width), prior_precision=1e-6).double().eval()
    covariance = finished(model, sample).covariance()
    expected = width**2 * inputs / (rows - inputs - 1)
    assert expected == pytest.approx(0.003173, rel=1e-3)
    # E x S x = tr S for standard normal inputs; its relative spread sqrt(2 / (N p)) = 3 %
    assert covariance.trace().item() == pytest.approx(expected, rel=0.1)
    assert covariance.trace().item() != pytest.approx(expected / 2, rel=0.1)


def slope(sizes: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def test_statistical_uncertainty_falls_with_the_root_of_the_training_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hepcalib.models.laplace.BLOCK", 65_536)
    sizes = [1000, 10_000, 100_000, 1_000_000]
    inputs, width = 5, 0.5
    whole = normal_sample(sizes[-1], inputs, width)
    test = Batch(torch.randn(200, inputs, generator=torch.Generator().manual_seed(4))).to(
        dtype=torch.float64
    )
    found: dict[str, list[float]] = {"laplace": [], "systematic": [], "dropout": []}
    for size in sizes:
        sample = Labelled(whole.batch.select(slice(0, size)), whole.target[:size])
        plain = LinearModel(inputs, width).double()
        assert sample.batch.features is not None
        solution = torch.linalg.lstsq(sample.batch.features, sample.target.unsqueeze(1)).solution
        plain.linear.weight.data = solution.mT.contiguous()
        laplace = finished(Laplace(plain, prior_precision=1e-6).double().eval(), sample)
        with torch.no_grad():
            split = decompose(laplace.members(test))
            dropped = decompose(Dropout(plain, inputs=True).eval().members(test))
        found["laplace"].append(split.statistical.median().item())
        found["systematic"].append(split.systematic.median().item())
        found["dropout"].append(dropped.statistical.median().item())
    assert slope(sizes, found["laplace"]) == pytest.approx(-0.5, abs=0.01)
    assert found["systematic"] == pytest.approx([width] * len(sizes), rel=1e-6)
    # the spread of dropout is that of its rate
    assert slope(sizes, found["dropout"]) == pytest.approx(0.0, abs=0.01)
