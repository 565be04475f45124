from __future__ import annotations

import numpy as np
import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, BernoulliHead, Laplace
from hepcalib.models.heads.capsules import (
    CapsuleHead,
    Capsules,
    margin_loss,
    routed,
    squashed,
)
from hepcalib.training import Examples, TrainingOptions, train


def predictions(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_the_squashed_length_is_that_of_the_formula() -> None:
    vectors = predictions(50, 6) * torch.logspace(-6, 6, 50, dtype=torch.float64).unsqueeze(1)
    square = vectors.square().sum(1)
    found = squashed(vectors)
    torch.testing.assert_close(found.norm(dim=1), square / (1 + square), rtol=1e-10, atol=0)
    directions = [v / v.norm(dim=1, keepdim=True) for v in (found, vectors)]
    torch.testing.assert_close(*directions)


def test_a_vector_of_zero_stays_so_with_a_finite_gradient() -> None:
    vector = torch.zeros(3, 4, requires_grad=True)
    found = squashed(vector)
    (gradient,) = torch.autograd.grad(found.sum(), vector)
    assert found.abs().max() == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("routing", [1, 2, 5])
def test_routing_is_that_of_a_loop(routing: int) -> None:
    u = predictions(7, 4, 3, 5).numpy()
    for row in u:
        b = np.zeros((4, 3))
        for _ in range(routing):
            s = np.zeros((3, 5))
            for i in range(4):
                c = np.exp(b[i]) / np.exp(b[i]).sum()
                for j in range(3):
                    s[j] += c[j] * row[i, j]
            for j in range(3):
                v = s[j] * np.linalg.norm(s[j]) / (1 + s[j] @ s[j])
                for i in range(4):
                    b[i, j] += row[i, j] @ v
        found = routed(torch.from_numpy(row), routing=routing)
        torch.testing.assert_close(found, torch.from_numpy(s), rtol=1e-10, atol=1e-12)
    together = routed(torch.from_numpy(u), routing=routing)
    torch.testing.assert_close(together[-1], found)


def test_routing_favours_agreement() -> None:
    """Three of four predictions agree on the first vector, none on the second."""
    unit = torch.eye(4, dtype=torch.float64)
    u = torch.stack([unit[[0, 0, 0, 1]], unit], dim=1)
    first, more = (routed(u, routing=routing).norm(dim=1) for routing in (1, 4))
    assert more[0] / more[1] > 1.2 * first[0] / first[1]


def test_margin_loss_is_that_of_the_formula() -> None:
    lengths = torch.tensor([[0.0, 0.95], [0.9, 0.1], [0.5, 0.5], [0.95, 0.05]])
    found = margin_loss(lengths, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    mixed = 0.4**2 + 0.5 * 0.4**2
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5 * 0.8**2 + 0.8**2, mixed, 0.0]))
    half = margin_loss(lengths, torch.full((4,), 0.5))
    ends = margin_loss(lengths, torch.zeros(4)) + margin_loss(lengths, torch.ones(4))
    torch.testing.assert_close(half, ends / 2)


def test_the_probability_is_the_share_of_the_length() -> None:
    lengths = torch.tensor([[0.2, 0.6], [0.0, 0.5], [0.5, 0.0], [0.0, 0.0]])
    found = Capsules(lengths)
    torch.testing.assert_close(found.mean, torch.tensor([0.75, 1.0, 0.0, 0.5]))
    assert found.expand([2, 4]).log_prob(torch.ones(4)).shape == (2, 4)
    torch.testing.assert_close(found.log_prob(torch.ones(4)), -margin_loss(lengths, torch.ones(4)))


def test_raw_outputs_of_zero_are_undecided() -> None:
    for routing in (1, 3):
        head = CapsuleHead(5, dimension=4, routing=routing)
        assert head.outputs == 40
        found = head(torch.zeros(2, 40))
        assert isinstance(found, Capsules)
        torch.testing.assert_close(found.lengths, torch.full((2, 2), 0.5))
        torch.testing.assert_close(found.mean, torch.full((2,), 0.5))


def test_the_two_losses_share_the_probability() -> None:
    raw = predictions(3, 6, 32)
    margin, likelihood = CapsuleHead(4, dimension=4), CapsuleHead(4, dimension=4, loss="likelihood")
    found = likelihood(raw)
    assert found.batch_shape == (3, 6)
    torch.testing.assert_close(margin(raw).mean, found.mean)
    target = (predictions(6) > 0).double()
    expected = torch.nn.functional.binary_cross_entropy(
        found.mean, target.expand(3, 6), reduction="none"
    )
    torch.testing.assert_close(-found.log_prob(target), expected)
    assert not torch.allclose(margin(raw).log_prob(target), found.log_prob(target), rtol=1e-3)


def circles(rows: int, seed: int) -> Examples:
    """Two classes that no line separates: inside and outside of a circle of half the jets."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 2, generator=generator)
    return Examples(Batch(features), (features.square().sum(1) > 2 * np.log(2)).float())


@pytest.mark.parametrize("head", [CapsuleHead(), CapsuleHead(loss="likelihood"), BernoulliHead()])
def test_learns_as_well_as_a_logit(head: BernoulliHead) -> None:
    torch.manual_seed(4)
    model = MLP(features=2, hidden=(16,), head=head)
    options = TrainingOptions(
        epochs=15, batch_size=100, learning_rate=0.01, schedule="constant", device="cpu", threads=1
    )
    train(model, circles(2000, 1), circles(500, 2), options=options)
    test = circles(2000, 3)
    with torch.no_grad():
        right = ((model(test.batch).mean > 0.5) == (test.target > 0.5)).float().mean()
    # A constant has 0.5; the error of the fraction is 0.01.
    assert right > 0.95


def test_a_posterior_needs_a_likelihood() -> None:
    Laplace(MLP(features=2, head=CapsuleHead(2, dimension=2, loss="likelihood")))
    with pytest.raises(ConfigError, match="the model predicts Capsules"):
        Laplace(MLP(features=2, head=CapsuleHead(2, dimension=2)))


def test_impossible_configurations_are_refused() -> None:
    for wrong in ((0, 8, 3), (8, 0, 3), (8, 8, 0)):
        capsules, dimension, routing = wrong
        with pytest.raises(ConfigError, match="needed: >= 1 each"):
            CapsuleHead(capsules, dimension=dimension, routing=routing)
    with pytest.raises(ConfigError, match=r"loss 'hinge'; needed: .* likelihood, margin"):
        CapsuleHead(loss="hinge")  # type: ignore[arg-type]  # on purpose
