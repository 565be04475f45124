from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.models import MLP, PFN, Bayesian, MixtureHead, NormalHead, bayesian
from hepcalib.ragged import Ragged


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


class Halved(MLP):
    """A model that is evaluated as any other, by the general way."""

    def outputs(self, batch: Batch) -> Tensor:
        return 0.5 * super().outputs(batch)


def halved(**keywords: Any) -> Bayesian:
    torch.manual_seed(1)
    return Bayesian(Halved(features=3, hidden=(8, 8), head=MixtureHead()), **keywords).eval()


@pytest.mark.parametrize("make", [mlp, pfn, halved])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_every_member_is_the_plain_model_with_drawn_weights(make: Any, mode: Any) -> None:
    model, batch = make(draws=3, initial_log_variance=-2.0), jets()
    with mode():
        members = model.member_outputs(batch)
        for draw in range(3):
            plain = make().model
            layers = dict(plain.named_modules())
            for name, drawn in model.stacked().items():
                layers[name.removesuffix(".weight")].weight.data = drawn[draw].clone()
            torch.testing.assert_close(plain.outputs(batch), members[draw])
        assert members.std(0).min() > 0


@pytest.mark.parametrize("make", [mlp, pfn])
def test_a_draw_depends_on_seed_and_number_only(make: Any) -> None:
    batch = jets()
    five = make(draws=5).member_outputs(batch)
    torch.rand(7)  # the global generator has no say
    three = make(draws=3)
    assert all(
        torch.equal(drawn, make(draws=5).stacked()[name][:3])
        for name, drawn in three.stacked().items()
    )
    torch.testing.assert_close(three.member_outputs(batch), five[:3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        make(draws=5).double().member_outputs(batch), five.double(), rtol=0, atol=1e-5
    )
    assert not torch.allclose(make(draws=5, seed=1).member_outputs(batch), five, atol=1e-4)
    assert not torch.allclose(five[0], five[1], atol=1e-4)
    one = make(draws=5).member_outputs(batch.select(slice(4, 5)))
    torch.testing.assert_close(one[:, 0], five[:, 4], rtol=1e-5, atol=1e-6)


def test_members_are_the_fixed_draws_in_training_too() -> None:
    model, batch = mlp(draws=3), jets()
    assert torch.equal(model.member_outputs(batch), model.train().member_outputs(batch))


def test_draws_are_made_once_until_the_weights_change(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    noise = bayesian._noise

    def counted(key: tuple[int, int, int], like: Tensor) -> Tensor:
        calls.append(key)
        return noise(key, like)

    monkeypatch.setattr(bayesian, "_noise", counted)
    model, batch = mlp(draws=3), jets()
    first = model.member_outputs(batch)
    model.member_outputs(batch.select(slice(0, 2)))
    assert calls == [(0, draw, layer) for layer in range(3) for draw in range(3)]
    other = mlp(draws=3)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model.member_outputs(batch), other.member_outputs(batch))
    assert not torch.equal(model.member_outputs(batch), first)
    with torch.no_grad():
        next(model.parameters()).sub_(1.0)
    torch.testing.assert_close(model.member_outputs(batch), first)
    assert model.double().member_outputs(batch).dtype == torch.float64
    assert pickle.loads(pickle.dumps(model))._made == {}
    model.train()
    assert model._made == {}


def test_draws_made_in_inference_mode_serve_a_gradient_of_the_inputs_later() -> None:
    model, batch = mlp(draws=3), jets()
    with torch.inference_mode():
        model.member_outputs(batch)
    features = torch.zeros(2, 3, requires_grad=True)
    model.member_outputs(Batch(features)).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert features.grad is not None
    assert features.grad.abs().max() > 0


def test_an_error_leaves_no_drawn_weights_behind() -> None:
    model, batch = mlp(draws=3), jets()
    expected = model.outputs(batch)
    with pytest.raises(ShapeError, match="needed"):
        model.member_outputs(Batch(torch.zeros(2, 4)))
    assert torch.equal(model.outputs(batch), expected)


@pytest.mark.parametrize("make", [mlp, pfn, halved])
def test_threads_may_predict_and_evaluate_at_the_same_time(make: Any) -> None:
    model, batch = make(draws=3, initial_log_variance=-2.0), jets(200)
    with torch.no_grad():
        members, outputs = model.member_outputs(batch), model.outputs(batch)

        def both(number: int) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                if number % 2:
                    return model.member_outputs(batch), outputs
                return members, model.outputs(batch)

        with ThreadPoolExecutor(4) as pool:
            for found, alone in pool.map(both, range(40)):
                torch.testing.assert_close(found, members)
                torch.testing.assert_close(alone, outputs)


def test_moved_and_copied_models_draw_from_their_own_weights() -> None:
    model, batch = mlp(draws=3), jets()
    first = model.member_outputs(batch)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(twin.parameters()).add_(1.0)
    assert not torch.equal(twin.member_outputs(batch), first)
    assert torch.equal(model.member_outputs(batch), first)
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    model.member_outputs(batch).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    got = {name for name, p in model.named_parameters() if p.grad is not None}
    assert got == biases
