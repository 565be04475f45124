from __future__ import annotations

import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models import MLP, PFN, MixtureHead, NormalHead, build, describe
from hepcalib.models.gaussian_ansatz import PARTNERS, AnsatzEstimate, GaussianAnsatz
from hepcalib.ragged import Ragged
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.models import Model
    from hepcalib.models.gaussian_ansatz import AnsatzLoss

E2, S2 = 4.0, 1.0  # squared widths of x|z and of z
INFORMATION = 0.5 * math.log(1 + S2 / E2)  # 0.11157 nat
LOSSES: tuple[AnsatzLoss, ...] = ("bce", "donsker_varadhan", "f_divergence")
every_loss = pytest.mark.parametrize("loss", LOSSES)


def pairs(rows: int, *, seed: int, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    z = mean + torch.randn(rows, generator=random)
    return z + math.sqrt(E2) * torch.randn(rows, generator=random), z


def powers(x: Tensor) -> Batch:
    """Features x and x^2, of which the exact A is a linear function."""
    return Batch(torch.stack([x, x.square()], dim=1))


def ansatz(**keywords: Any) -> GaussianAnsatz:
    torch.manual_seed(1)
    return GaussianAnsatz(MLP(features=2, hidden=(), head=NormalHead()), **keywords).eval()


def last_layer(part: Model) -> torch.nn.Linear:
    return [module for module in part.modules() if isinstance(module, torch.nn.Linear)][-1]


def set_linear(part: Model, weight: tuple[float, float], bias: float) -> None:
    layer = last_layer(part)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[0] = torch.tensor(weight)
        layer.bias[0] = bias


def optimum(*, mean: float = 0.0, width: float = 2.0, **keywords: Any) -> GaussianAnsatz:
    """The exact T for z ~ N(mean, 1) and x|z ~ N(z, 4), if the width is 2."""
    model = ansatz(warmup=0, **keywords)
    half = 0.5 / (S2 + E2)
    shift = 1.0 if keywords.get("loss") == "f_divergence" else 0.0
    set_linear(model.a, (-2 * mean * half, half), mean**2 * half + INFORMATION + shift)
    set_linear(model.b, (1.0, 0.0), 0.0)
    set_linear(model.c, (0.0, 0.0), -2 * math.log(width))
    with torch.no_grad():
        model.shape.zero_()
    return model


def significances(
    model: GaussianAnsatz, x: Tensor, z: Tensor, weight: Tensor, *, told: bool = True
) -> list[float]:
    """Gradient of the loss by numbers of A, B and C over its error, from 20 parts."""
    layers = [last_layer(part) for part in (model.a, model.b, model.c)]
    numbers = [layer.bias for layer in layers] + [layer.weight for layer in layers]
    found = []
    for rows in torch.arange(len(x)).chunk(20):
        loss = model.loss(model(powers(x[rows])), z[rows], weight[rows] if told else None)
        gradients = torch.autograd.grad((loss * weight[rows]).mean(), numbers)
        found.append(torch.stack([gradient.flatten()[0] for gradient in gradients]))
    values = torch.stack(found).double()
    error = values.std(0) / math.sqrt(20) + 1e-5  # some are 0 for all parts
    ratio: list[float] = (values.mean(0) / error).abs().tolist()
    return ratio


def test_information_and_normalisation_at_the_optimum() -> None:
    rows = 200_000
    x, z = pairs(rows, seed=2)
    model = optimum()
    with torch.no_grad():
        estimate = model(powers(x))
        joint, mixed = estimate.statistic(z), estimate.statistic(z.roll(1)).exp()
    error = joint.std().item() / math.sqrt(rows)
    assert joint.mean().item() == pytest.approx(0.11157, abs=5 * error)
    assert mixed.mean().item() == pytest.approx(1.0, abs=5 * mixed.std().item() / math.sqrt(rows))
    assert model.mutual_information(powers(x), z).item() == pytest.approx(0.11157, abs=5 * error)
    wrong = optimum(width=1.0).mutual_information(powers(x), z).item()
    assert wrong < 0.11157 - 5 * error
    assert estimate.mean.tolist() == pytest.approx(x.tolist(), abs=1e-5)
    assert estimate.stddev.tolist() == pytest.approx([2.0] * rows, abs=1e-5)


@every_loss
def test_the_exact_statistic_is_the_minimum_of_every_loss(loss: AnsatzLoss) -> None:
    x, z = pairs(100_000, seed=3)
    ones = torch.ones_like(z)
    assert max(significances(optimum(loss=loss), x, z, ones)) < 5
    assert max(significances(optimum(loss=loss, width=1.0), x, z, ones)) > 10


@every_loss
def test_weights_stand_for_another_spectrum(loss: AnsatzLoss) -> None:
    x, z = pairs(100_000, seed=4)
    weight = (0.7 * z).exp()
    weight /= weight.mean()  # z ~ N(0.7, 1)
    model = optimum(mean=0.7, loss=loss)
    assert max(significances(model, x, z, weight)) < 5
    # with a weight of the sampled pairs only, T would depend on the spectrum
    assert max(significances(model, x, z, weight, told=False)) > 10


def test_losses_by_brute_force() -> None:
    x, z = pairs(40, seed=5)
    weight = torch.linspace(0.5, 1.5, 40)
    for loss in LOSSES:
        model = ansatz(loss=loss, ratio=3.0)
        with torch.no_grad():
            estimate = model(powers(x))
            found = (model.loss(estimate, z, weight) * weight).mean().item()
            t = torch.stack([estimate.statistic(z[k].expand(40)) for k in range(40)], 1)
        shifts = [1 + k * 39 // PARTNERS for k in range(PARTNERS)]
        others = [(i, (i + shift) % 40) for i in range(40) for shift in shifts]
        w = torch.tensor([(weight[i] * weight[j]).item() for i, j in others])
        mixed = torch.stack([t[i, j] for i, j in others])
        joint = t.diagonal()
        expected = {
            "bce": (weight * (1 + 3 * (-joint).exp()).log()).mean()
            + 3 * (w * (1 + mixed.exp() / 3).log()).mean(),
            "donsker_varadhan": ((w * mixed.exp()).sum() / w.sum()).log() - (weight * joint).mean(),
            "f_divergence": (w * (mixed - 1).exp()).mean() - (weight * joint).mean(),
        }[loss]
        assert found == pytest.approx(expected.item(), abs=1e-5)


def variance_of_an_offset(ratio: float, *, width: float, parts: int = 200) -> float:
    """Asymptotic variance of an offset of B over the least one, from the variance of the gradient.

    At the exact T for z ~ N(0, 1) and x|z ~ N(z, width^2).
    """
    model, half = ansatz(warmup=0, ratio=ratio), 0.5 / (1 + width**2)
    set_linear(model.a, (0.0, half), 0.5 * math.log(1 + 1 / width**2))
    set_linear(model.b, (1.0, 0.0), 0.0)
    set_linear(model.c, (0.0, 0.0), -2 * math.log(width))
    with torch.no_grad():
        model.shape.zero_()
    random, offset = torch.Generator().manual_seed(14), last_layer(model.b).bias
    gradients, curvatures = [], []
    for _ in range(parts):
        z = torch.randn(500, generator=random)
        x = z + width * torch.randn(500, generator=random)
        loss = model.loss(model(powers(x)), z).mean()
        (gradient,) = torch.autograd.grad(loss, offset, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.sum(), offset)
        gradients.append(gradient.detach())
        curvatures.append(curvature)
    noise = 500 * torch.stack(gradients).double().var()
    return (noise / torch.stack(curvatures).double().mean() ** 2).item() / width**2


def test_a_larger_ratio_comes_nearer_to_maximum_likelihood() -> None:
    """The share r / (r + e^T) is small at the maximum of a narrow likelihood, unless r is large."""
    error = math.sqrt(2 / 200)  # relative, of a variance from 200 parts
    few, many = (variance_of_an_offset(ratio, width=0.01) for ratio in (1.0, 16.0))
    assert 1 < many < few * (1 - 4 * error)


def exponential(rows: int, *, seed: int) -> Examples:
    """z ~ exp(-z/4), x|z ~ N(z, 4); A is -ln p(x) = x/4 - ln Phi((x - 1)/2), linear in features."""
    random = torch.Generator().manual_seed(seed)
    z = 4 * torch.empty(rows).exponential_(generator=random)
    x = z + 2 * torch.randn(rows, generator=random)
    edge = torch.special.log_ndtr((x - 1) / 2)
    return Examples(Batch(torch.stack([(x - 4) / 4.47, edge], dim=1)), z)


def slope(value: Tensor, examples: Examples) -> float:
    """Of the estimate as a function of x, over the rows."""
    assert examples.batch.features is not None
    x = 4.47 * examples.batch.features[:, 0]
    x = x - x.mean()
    return ((x * value).sum() / (x * x).sum()).item()


def options(**keywords: Any) -> TrainingOptions:
    return TrainingOptions(device="cpu", threads=1, **keywords)


def test_training_on_an_exponential_spectrum_is_unbiased() -> None:
    training, test = exponential(20_000, seed=6), exponential(20_000, seed=7)
    head = NormalHead(4.0, 4.0)
    model = GaussianAnsatz(MLP(features=2, hidden=(), head=head), warmup=100)
    chosen = options(epochs=15, batch_size=500, learning_rate=5e-2)
    model.shape.requires_grad_(False).zero_()  # of a family that holds the exact T
    train(model, training, test, options=chosen)
    with torch.no_grad():
        estimate = model(test.batch)
    # 0.009 is the standard error of the slope; a network that has not quite arrived adds to it
    assert slope(estimate.mean, test) == pytest.approx(1.0, abs=5 * 0.009)
    assert estimate.stddev.median().item() == pytest.approx(2.0, abs=0.06)
    assert (estimate.mean - test.target).mean().item() == pytest.approx(0.0, abs=0.15)
    regression = MLP(features=2, hidden=(), head=head)
    train(regression, training, test, options=chosen)
    with torch.no_grad():
        assert slope(regression(test.batch).mean, test) < 1 - 5 * 0.009  # E[z|x]


def test_d_is_there_in_training_only_and_fades() -> None:
    model, (x, z) = ansatz(warmup=4, d_penalty=0.5), pairs(50, seed=8)
    set_linear(model.d, (0.0, 0.0), 3.0)
    assert model(powers(x)).share.item() == 0.0
    model.train()
    shares = [model(powers(x)).share.item() for _ in range(6)]
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    model.steps.zero_()
    first, last = model(powers(x)), model.eval()(powers(x))
    difference = first.statistic(z) - last.statistic(z)
    torch.testing.assert_close(difference, 3.0 * first.residual(z))
    assert model.regulariser(first, z, rows=50).item() == pytest.approx(1.5)
    half = torch.arange(50) % 2 == 0
    weighted = model.regulariser(first, z, rows=50, weight=half.to(z))
    assert weighted.item() == pytest.approx(0.75)


def test_gradient_reaches_every_parameter() -> None:
    model = GaussianAnsatz(MLP(features=2, hidden=(8,), head=NormalHead()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    x, z = pairs(64, seed=9)
    loss = model.loss(model.train()(powers(x / 3)), z).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_every_row_of_a_batch_is_paired_with_others() -> None:
    model, target = ansatz(), torch.arange(100.0)
    for mode in (True, False):
        others = model.train(mode)._others(target)
        assert others.shape == (PARTNERS, 100)
        assert not (others == torch.arange(100)).any()
        assert all(len(set(row.tolist())) == 100 for row in others)
    assert torch.equal(model._others(target), model._others(target))
    for rows in (0, 1, 2):
        x, z = pairs(rows, seed=10)
        loss = model.train()(powers(x))
        assert model.loss(loss, z).isfinite().all()


def test_estimates_do_not_depend_on_other_rows_and_go_through_members() -> None:
    model, (x, _) = optimum(), pairs(20, seed=11)
    together = model(powers(x))
    assert isinstance(together, AnsatzEstimate)
    alone = model(powers(x[3:4]))
    torch.testing.assert_close(alone.mean, together.mean[3:4])
    members = model.head(model.member_outputs(powers(x)))
    assert members.batch_shape == (1, 20)
    torch.testing.assert_close(members.mean[0], together.mean)
    torch.testing.assert_close(members.stddev[0], together.stddev)


def test_description_and_weights_make_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    if "GaussianAnsatz" not in models.__all__:
        monkeypatch.setattr(models, "__all__", [*models.__all__, "GaussianAnsatz"])
        monkeypatch.setattr(models, "GaussianAnsatz", GaussianAnsatz, raising=False)
    pfn = PFN(constituents=3, phi=(8,), f=(8,), head=NormalHead(1.0, 2.0))
    model = GaussianAnsatz(pfn, loss="f_divergence", ratio=2.0, warmup=7).eval()
    assert last_layer(model.a).weight.ne(last_layer(model.b).weight).all()
    again = build(json.loads(json.dumps(describe(model)))).eval()
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    jets = Batch(constituents=Ragged(torch.randn(9, 3), torch.tensor([0, 4, 4, 9])))
    assert torch.equal(again.outputs(jets), model.outputs(jets))
    assert torch.equal(pickle.loads(pickle.dumps(model)).outputs(jets), model.outputs(jets))
    assert model.outputs(jets).isfinite().all()


def test_what_it_refuses() -> None:
    mlp = MLP(features=2, head=NormalHead())
    unknown: Any = "hinge"
    for keywords in (
        {"loss": unknown},
        {"ratio": 0.0},
        {"warmup": -1},
        {"d_penalty": math.nan},
    ):
        with pytest.raises(ConfigError, match=r"GaussianAnsatz: .*needed: "):
            GaussianAnsatz(mlp, **keywords)
    with pytest.raises(ConfigError, match="MixtureHead"):
        GaussianAnsatz(MLP(features=2, head=MixtureHead()))
    with pytest.raises(ConfigError, match="GaussianAnsatz with a NormalHead"):
        GaussianAnsatz(GaussianAnsatz(mlp))


def test_a_training_that_ends_in_the_warm_up_is_refused() -> None:
    torch.manual_seed(5)
    model = GaussianAnsatz(MLP(features=1, hidden=(4,), head=NormalHead()), warmup=50)
    examples = Examples(Batch(torch.randn(64, 1)), torch.randn(64))
    with pytest.raises(TrainingError, match=r"best state is of step .*, 50 steps are warm-up"):
        train(model, examples, examples, options=TrainingOptions(epochs=20, device="cpu"))
