from __future__ import annotations

import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import decompose
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import MLP, PFN, NormalHead
from hepcalib.models.evidential import Evidence, Evidential, EvidentialHead
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 6


def mlp(**keywords: Any) -> Evidential:
    torch.manual_seed(1)
    head = EvidentialHead(shift=0.2, scale=0.3)
    return Evidential(MLP(features=3, hidden=(8, 8), head=head), **keywords).eval()


def pfn(**keywords: Any) -> Evidential:
    torch.manual_seed(1)
    model = PFN(constituents=3, features=3, phi=(8, 8), f=(8,), head=EvidentialHead())
    return Evidential(model, **keywords).eval()


def jets() -> Batch:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(ROWS) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Batch(torch.randn(ROWS, 3, generator=generator), Ragged(values, offsets))


both = pytest.mark.parametrize("make", [mlp, pfn])


def evidence(gamma: float, nu: float, excess: float, beta: float, rows: int = 1) -> Any:
    numbers = torch.tensor([gamma, nu, excess, beta], dtype=torch.float64)
    return Evidence(*numbers.unsqueeze(1).expand(4, rows))


def distances(found: Any, exact: Any) -> tuple[float, float]:
    """Largest difference of the distribution functions, ratio of the 68 % intervals."""
    y = torch.linspace(-12, 12, 4001, dtype=torch.float64) * exact.scale
    mixture = found.cdf(y.unsqueeze(1).unsqueeze(1)).mean((1, 2))
    pull = (y - exact.loc) / exact.scale
    freedom = exact.df
    share = 0.5 * incomplete_beta(freedom / (freedom + pull.square()), 0.5 * freedom.item())
    student = torch.where(pull > 0, 1 - share, share)
    widths = [
        (y[torch.searchsorted(cdf, 0.84134)] - y[torch.searchsorted(cdf, 0.15866)]).item()
        for cdf in (mixture, student)
    ]
    return (mixture - student).abs().max().item(), widths[0] / widths[1]


def incomplete_beta(x: Tensor, a: float) -> Tensor:
    """The regularised incomplete beta function I_x(a, 1/2), by quadrature in the angle."""
    # t = sin^2 u: B_x = 2 int_0^asin(sqrt x) sin^(2a - 1) u du
    nodes = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    end = x.sqrt().asin().unsqueeze(-1)
    integral = 2 * ((end * nodes).sin() ** (2 * a - 1)).mean(-1) * end.squeeze(-1)
    return integral / math.exp(math.lgamma(a) + math.lgamma(0.5) - math.lgamma(a + 0.5))


def test_predictive_is_the_mixture_of_the_normal_inverse_gamma() -> None:
    gamma, nu, alpha, beta = 0.4, 0.7, 3.0, 2.0
    exact = evidence(gamma, nu, alpha - 1, beta)
    draws = 400_000
    torch.manual_seed(3)
    variance = beta / torch.distributions.Gamma(alpha, 1.0).sample((draws,)).double()
    mean = gamma + (variance / nu).sqrt() * torch.randn(draws, dtype=torch.float64)
    y = torch.tensor([-2.0, 0.0, 0.4, 1.0, 5.0], dtype=torch.float64)
    drawn: Any = Normal(mean, variance.sqrt())
    density = drawn.log_prob(y.unsqueeze(1)).exp()
    error = density.std(1) / draws**0.5
    assert ((density.mean(1) - exact.log_prob(y).exp()).abs() < 5 * error).all()
    assert exact.mean.item() == gamma
    # of the parts: E sigma^2 = beta / (alpha - 1) and Var mu = beta / (nu (alpha - 1))
    assert exact.variance.item() == pytest.approx(1.0 + 1.0 / nu)
    wrong = evidence(gamma, 2 * nu, alpha - 1, beta).log_prob(y).exp()
    assert not ((density.mean(1) - wrong).abs() < 5 * error).all()


@pytest.mark.parametrize("nodes", [1, 3, 8, 50])
@pytest.mark.parametrize(("nu", "excess"), [(0.01, 0.01), (0.3, 0.5), (2.0, 4.0), (200.0, 500.0)])
def test_members_have_exactly_the_two_variances(nodes: int, nu: float, excess: float) -> None:
    members = evidence(0.3, nu, excess, 0.8, rows=2).members(nodes)
    assert members.batch_shape == (2 * nodes**2, 2)
    found = decompose(members)
    assert found.mean.tolist() == pytest.approx([0.3] * 2, rel=1e-9)
    assert found.systematic.square().tolist() == pytest.approx([0.8 / excess] * 2, rel=1e-9)
    assert found.statistical.square().tolist() == pytest.approx([0.8 / excess / nu] * 2, rel=1e-9)
    assert (members.scale > 0).all()


@pytest.mark.parametrize(
    ("alpha", "nu", "distance", "width"),
    [
        (1.1, 0.1, 0.03, 0.08),
        (1.5, 0.01, 0.01, 0.05),
        (1.5, 1.0, 0.01, 0.05),
        (3.0, 0.1, 0.01, 0.05),
        (3.0, 10.0, 0.003, 0.02),
        (30.0, 1.0, 0.003, 0.02),
    ],
)
def test_mixture_of_the_members_is_nearly_the_student_distribution(
    alpha: float, nu: float, distance: float, width: float
) -> None:
    exact = evidence(0.0, nu, alpha - 1, 2.0)
    largest, ratio = distances(exact.members(8), exact)
    assert largest < distance
    assert ratio == pytest.approx(1.0, abs=width)
    shifted = evidence(0.0, nu, alpha - 1, 2.0 * 1.5)  # a quarter too wide
    assert distances(shifted.members(8), exact)[0] > distance


def test_head_is_finite_anywhere() -> None:
    head = EvidentialHead(shift=0.2, scale=0.3)
    grid = torch.cartesian_prod(*[torch.tensor([-500.0, 0.0, 500.0])] * 4).requires_grad_()
    distribution = head(grid)
    log_prob = distribution.log_prob(torch.tensor([[-100.0], [0.0], [1e3]]))
    for values in (log_prob, distribution.mean, distribution.variance):
        assert values.isfinite().all()
    assert (distribution.variance > 0).all()
    log_prob.sum().backward()
    assert grid.grad is not None
    assert grid.grad.isfinite().all()
    found = decompose(distribution.members(8))
    assert torch.stack(list(found)).isfinite().all()
    with pytest.raises(ShapeError, match=r"needed: \(\.\.\., 4\)"):
        head(torch.zeros(2, 3))


def test_head_scales_with_the_target() -> None:
    raw = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    unit, scaled = EvidentialHead()(raw), EvidentialHead(shift=2.0, scale=0.1)(raw)
    torch.testing.assert_close(scaled.mean, 2.0 + 0.1 * unit.mean)
    torch.testing.assert_close(scaled.variance, 0.01 * unit.variance)
    assert EvidentialHead(shift=2.0, scale=0.1).config == {"shift": 2.0, "scale": 0.1}


def test_regulariser_is_the_evidence_where_the_prediction_is_wrong() -> None:
    model = mlp(regularisation=0.5)
    predicted = evidence(1.0, 2.0, 0.5, 0.8, rows=2)
    target = torch.tensor([1.0, 1.6], dtype=torch.float64)
    # errors 0 and 0.6 / 0.3, evidence 2 nu + alpha = 5.5
    expected = 0.5 * 5.5 * 0.5 * (0.0 + 2.0)
    assert model.regulariser(predicted, target, rows=7).item() == pytest.approx(expected)
    assert mlp(regularisation=0.0).regulariser(predicted, target, rows=7).item() == 0.0


def test_a_row_of_weight_two_counts_twice_in_the_regulariser() -> None:
    model, batch = mlp(regularisation=0.5), jets()
    target, weight = torch.linspace(0.0, 1.0, ROWS), (torch.arange(ROWS) % 3).float()
    twice = torch.arange(ROWS).repeat_interleave(weight.long())
    assert batch.features is not None
    replicated = Batch(batch.features[twice])
    found = model.regulariser(model(batch), target, rows=ROWS, weight=weight).item()
    expected = model.regulariser(model(replicated), target[twice], rows=ROWS).item()
    assert found == pytest.approx(expected * len(twice) / ROWS, rel=1e-5)  # float32 sums
    without = model.regulariser(model(batch), target, rows=ROWS).item()
    assert without != pytest.approx(found, rel=1e-3)


def test_likelihood_does_not_know_the_split() -> None:
    one, other = evidence(0.0, 4.0, 1.0, 0.8), evidence(0.0, 0.25, 1.0, 0.2)
    y = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(y), other.log_prob(y), rtol=1e-12, atol=1e-12)
    first, second = decompose(one.members(8)), decompose(other.members(8))
    assert first.total.item() == pytest.approx(second.total.item(), rel=1e-9)
    assert first.systematic.item() == pytest.approx(2 * second.systematic.item(), rel=1e-9)


@both
def test_members_of_a_model_are_those_of_its_rows(make: Callable[..., Evidential]) -> None:
    model, batch = make(nodes=3), jets()
    members = model.members(batch)
    predicted = model(batch)
    assert isinstance(predicted, Evidence)
    assert predicted.batch_shape == (ROWS,)
    assert members.batch_shape == (18, ROWS)
    assert model.member_outputs(batch).shape == (1, ROWS, 4)
    found = decompose(members)
    torch.testing.assert_close(found.systematic.square(), predicted.beta / predicted.excess)
    statistical = predicted.beta / predicted.excess / predicted.nu
    torch.testing.assert_close(found.statistical.square(), statistical)
    alone = model.members(batch.select(slice(3, 4)))
    torch.testing.assert_close(alone.loc[:, 0], members.loc[:, 3], rtol=1e-5, atol=1e-6)
    assert model.members(batch.select(slice(0, 0))).batch_shape == (18, 0)


@both
def test_gradient_reaches_every_parameter(make: Callable[..., Evidential]) -> None:
    model, batch, target = make().train(), jets(), torch.linspace(0, 1, ROWS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    predicted = model(batch)
    loss = model.loss(predicted, target).mean() + model.regulariser(predicted, target, rows=ROWS)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


def test_training_finds_mean_and_width() -> None:
    torch.manual_seed(4)
    x = torch.randn(2000, 1)
    y = 2.0 * x[:, 0] + 0.5 * torch.randn(2000)
    plain = MLP(features=1, hidden=(), head=EvidentialHead(scale=2.0))
    model = Evidential(plain, regularisation=1e-3).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(400):
        predicted = model(Batch(x))
        loss = model.loss(predicted, y).mean() + model.regulariser(predicted, y, rows=2000)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimiser.step()
    with torch.no_grad():
        found = decompose(model.eval().members(Batch(x)))
    # least squares: 0.5 / sqrt(2000) = 0.011 for the slope, 0.5 / sqrt(4000) = 0.008 for the width;
    # the regulariser widens the tails
    torch.testing.assert_close(found.mean, 2.0 * x[:, 0], rtol=0.03, atol=0.06)
    assert found.total.mean().item() == pytest.approx(0.5, abs=0.06)


@both
def test_pickle_and_state_give_the_same_members(make: Callable[..., Evidential]) -> None:
    model, batch = make(nodes=2, regularisation=0.3), jets()
    expected = model.members(batch).loc
    assert torch.equal(pickle.loads(pickle.dumps(model)).members(batch).loc, expected)
    config = json.loads(json.dumps(model.config))
    assert config.pop("model")["head"]["name"] == "EvidentialHead"
    other = type(model.model)(**{**model.model.config, "head": model.head})
    again = Evidential(other, **config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.members(batch).loc, expected)


def test_impossible_wrappers_are_refused() -> None:
    with pytest.raises(ConfigError, match="NormalHead; needed: EvidentialHead"):
        Evidential(MLP(features=3, head=NormalHead()))
    with pytest.raises(ConfigError, match="Evidential has members of its own"):
        Evidential(mlp())
    for keywords, message in (
        ({"regularisation": -1.0}, "regularisation is -1"),
        ({"regularisation": math.inf}, "regularisation is inf"),
        ({"nodes": 0}, "nodes 0"),
        ({"nodes": 51}, "nodes 51"),
    ):
        with pytest.raises(ConfigError, match=message):
            mlp(**keywords)
