from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import decompose
from hepcalib.exceptions import ConfigError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    GaussianAnsatz,
    Head,
    MixtureHead,
    Model,
    NormalHead,
)
from hepcalib.models.mean_field import MeanFieldLinear
from hepcalib.models.wrapping import Wrapper
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from typing import ClassVar


class KnownWidth(Head):
    """A normal distribution of known standard deviation."""

    outputs = 1

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width

    def distribution(self, raw: Tensor) -> Normal:
        mean = raw.squeeze(-1)
        return Normal(mean, torch.full_like(mean, self.width))


class LinearModel(Model):
    """y = w x, or of the sum of the constituents' w p_i if the batch has constituents."""

    constituent_modules: ClassVar[tuple[str, ...]] = ("constituent",)

    def __init__(self, inputs: int, width: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 1, bias=False)
        self.constituent = nn.Linear(inputs, 1, bias=False)
        self.head = KnownWidth(width)

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        if batch.constituents is not None:
            return batch.constituents.map(self.constituent).sum()
        assert batch.features is not None
        raw: Tensor = self.linear(batch.features)
        return raw


def mlp(**keywords: Any) -> Bayesian:
    torch.manual_seed(1)
    return Bayesian(MLP(features=3, hidden=(8, 8), head=MixtureHead()), **keywords).eval()


def pfn(**keywords: Any) -> Bayesian:
    torch.manual_seed(1)
    model = PFN(constituents=3, features=3, phi=(8, 8), f=(8,), head=NormalHead())
    return Bayesian(model, **keywords).eval()


def jets(rows: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(rows) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Batch(torch.randn(rows, 3, generator=generator), Ragged(values, offsets))


def distinct(rows: Tensor) -> int:
    return len({tuple(row) for row in rows.tolist()})


def fit(model: Bayesian, batch: Batch, target: Tensor, *, examples: float, steps: int) -> None:
    """Minimise the loss; repeated rows stand for the expectation over the weights."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -model(batch).log_prob(target).mean() + model.kl() / examples
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()


def test_linear_model_finds_the_exact_mean_and_the_mean_field_width() -> None:
    # one example x = (1, 1), y = 3 of unit noise, unit prior: precision [[2, 1], [1, 2]]
    torch.manual_seed(1)
    model = Bayesian(LinearModel(2), initial_log_variance=-2.0, draws=4000)
    fit(model, Batch(torch.ones(8192, 2)), torch.full((8192,), 3.0), examples=1.0, steps=300)
    layer = model.model.linear
    assert isinstance(layer, MeanFieldLinear)
    width = (0.5 * layer.log_variance).exp()
    # noise of 8192 rows, averaged over the last steps of the schedule
    assert layer.weight.tolist()[0] == pytest.approx([1.0, 1.0], abs=0.02)
    assert width.tolist()[0] == pytest.approx([0.7071, 0.7071], rel=0.02)
    assert width.tolist()[0] != pytest.approx([0.8165, 0.8165], rel=0.02)  # the exact posterior's
    members = model.member_outputs(Batch(torch.tensor([[1.0, 0.0]])))
    # standard error of a standard deviation: 1 / sqrt(2 draws) = 1.1 %
    assert members.std().item() == pytest.approx(width[0, 0].item(), rel=0.05)


def test_statistical_uncertainty_of_a_regression_is_that_of_least_squares() -> None:
    examples, inputs, width, repeats = 400, 5, 0.5, 20
    torch.manual_seed(3)
    x = torch.randn(examples, inputs)
    y = x.sum(1) + width * torch.randn(examples)
    model = Bayesian(
        LinearModel(inputs, width), prior_precision=1e-4, initial_log_variance=-5.0, draws=500
    )
    many = Batch(x.repeat(repeats, 1))
    fit(model, many, y.repeat(repeats), examples=examples, steps=300)
    with torch.no_grad():
        found = decompose(model.head(model.member_outputs(Batch(torch.randn(2000, inputs)))))
    expected = width**2 * inputs / (examples - inputs - 1)
    assert expected == pytest.approx(0.003173, rel=1e-3)
    # 500 draws of 5 weights: sqrt(2 / 2500) = 3 %; this x and the fit: as much again
    assert found.statistical.square().mean().item() == pytest.approx(expected, rel=0.15)
    assert found.systematic.tolist() == pytest.approx([width] * 2000, rel=1e-5)
    layer = model.model.linear
    assert isinstance(layer, MeanFieldLinear)
    least_squares = torch.linalg.lstsq(x, y.unsqueeze(1)).solution.T
    torch.testing.assert_close(layer.weight, least_squares, rtol=0, atol=0.01)


def test_constituents_of_a_jet_share_their_weights_in_training_as_in_evaluation() -> None:
    count, rows = 25, 3000
    torch.manual_seed(1)
    model = Bayesian(LinearModel(1), initial_log_variance=-2.0, draws=rows)
    offsets = torch.tensor([0, count])
    jet = Batch(constituents=Ragged(torch.ones(count, 1), offsets))
    with torch.no_grad():
        evaluated = model.eval().member_outputs(jet).std().item()
        model.train()
        trained = torch.stack([model.outputs(jet) for _ in range(rows)]).std().item()
        layer = model.model.constituent
        assert isinstance(layer, MeanFieldLinear)
        layer.shared = False  # a draw for each constituent averages out: sqrt(count) instead
        alone = torch.stack([model.outputs(jet) for _ in range(rows)]).std().item()
    expected = count * torch.tensor(-1.0).exp().item()
    tolerance = 5 / (2 * rows) ** 0.5
    assert evaluated == pytest.approx(expected, rel=tolerance)
    assert trained == pytest.approx(expected, rel=tolerance)
    assert alone == pytest.approx(expected / count**0.5, rel=tolerance)


def test_divergence_at_the_start_of_the_reference_network() -> None:
    torch.manual_seed(1)
    plain = MLP(features=15, hidden=(256, 168, 64, 8), head=MixtureHead())
    for module in plain.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    model = Bayesian(plain)
    weights = sum(p.numel() for name, p in model.named_parameters() if "log_variance" in name)
    assert weights == 58_184
    # chance of the means: half of sqrt(2 sum of outputs / inputs) = 3.1 per standard deviation
    assert model.kl().item() == pytest.approx(232_992, abs=13)
    assert model.kl().item() / 600_000 == pytest.approx(0.3883, abs=1e-4)


def test_evaluation_is_the_model_of_the_mean_weights_and_training_is_random() -> None:
    torch.manual_seed(1)
    plain, batch = MLP(features=3, head=NormalHead()), jets()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    model = Bayesian(plain, initial_log_variance=-2.0)
    assert torch.equal(model.eval().outputs(batch), plain.outputs(batch))
    model.train()
    same = Batch(torch.ones(200, 3))
    assert distinct(model.outputs(same)) == 200
    assert not torch.equal(model.outputs(batch), model.outputs(batch))
    assert distinct(model.eval().outputs(same)) == 1
    assert plain.state_dict().keys() == before.keys()
    assert all(torch.equal(plain.state_dict()[name], before[name]) for name in before)


def test_regulariser_is_the_divergence_over_the_rows() -> None:
    model, target = mlp(), torch.zeros(6)
    found = model.regulariser(model(jets()), target, rows=500)
    assert found.item() == pytest.approx(model.kl().item() / 500, rel=1e-6)


def test_nested_and_repeated_layers_are_replaced_once() -> None:
    plain = LinearModel(2)
    shared = nn.Linear(2, 2)
    plain.linear = nn.Sequential(shared, nn.Sequential(shared, nn.Linear(2, 1)))  # type: ignore[assignment]  # of another class than declared
    model = Bayesian(plain, draws=2).eval()
    layers = {id(m) for m in model.modules() if isinstance(m, MeanFieldLinear)}
    assert len(layers) == 3
    assert not any(type(module) is nn.Linear for module in model.modules())
    batch = Batch(torch.ones(4, 2))
    torch.testing.assert_close(model.outputs(batch), plain.outputs(batch))
    assert model.member_outputs(batch).shape == (2, 4, 1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"prior_precision": 0.0}, "prior_precision is 0"),
        ({"prior_precision": torch.inf}, "prior_precision is inf"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mlp(**keywords)


def test_models_that_cannot_be_made_bayesian_are_refused() -> None:
    with pytest.raises(ConfigError, match="has members of its own"):
        Bayesian(mlp())
    plain = LinearModel(1)
    plain.linear = plain.constituent = nn.Identity()  # type: ignore[assignment]  # of another class than declared
    with pytest.raises(ConfigError, match=r"no nn\.Linear"):
        Bayesian(plain)


def test_layers_on_constituents_are_found_inside_another_wrapper() -> None:
    class Same(Wrapper):
        @property
        def config(self) -> dict[str, Any]:
            return {}

    plain = PFN(constituents=3, phi=(8, 8), f=(8,), head=NormalHead())
    for model, prefix in ((Bayesian(plain), "model."), (Bayesian(Same(plain)), "model.model.")):
        shared = {
            name.removeprefix(prefix): layer.shared
            for name, layer in model.named_modules()
            if isinstance(layer, MeanFieldLinear)
        }
        assert shared == {"phi.0": True, "phi.2": True, "f.0": False, "f.2": False}


def test_weights_reach_the_loss_of_the_model_within() -> None:
    """Weighted pairs of the Gaussian Ansatz need the weights of both rows."""
    torch.manual_seed(7)
    ansatz = GaussianAnsatz(MLP(features=2, hidden=(8,), head=NormalHead()), warmup=0)
    wrapped, batch = Bayesian(ansatz).eval(), Batch(torch.randn(20, 2))
    target, weight = torch.randn(20), torch.rand(20) + 0.5
    predicted = wrapped.model.eval()(batch)
    expected = wrapped.model.weighted_loss(predicted, target, weight)
    torch.testing.assert_close(wrapped.weighted_loss(predicted, target, weight), expected)
    assert not torch.allclose(expected, wrapped.loss(predicted, target) * weight)
