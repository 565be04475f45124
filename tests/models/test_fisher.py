from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import StudentT

from hepcalib.exceptions import ConfigError
from hepcalib.models import BernoulliHead, Head, MixtureHead, NormalHead
from hepcalib.models.fisher import fisher_information
from hepcalib.models.heads import LogNormalHead


class Other(Head):
    outputs = 1

    def distribution(self, raw: Tensor) -> StudentT:
        return StudentT(3.0 + 0.0 * raw.squeeze(-1), raw.squeeze(-1))


def test_of_a_normal_distribution_in_closed_form_within_the_range_of_the_head() -> None:
    raw = torch.tensor([[0.3, 0.7], [-2.0, -3.0], [1.0, 12.0], [0.0, -21.0]])
    found = fisher_information(NormalHead(shift=3.0, scale=0.2), raw)
    clamped = raw[:, 1].double().clamp(-20, 11)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[:, 0, 0], (-clamped).exp(), rtol=1e-10, atol=0)
    expected = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found[:, 1, 1], expected, rtol=1e-12, atol=1e-12)
    assert (found[:, 0, 1].abs() < 1e-9 * found[:, 0, 0]).all()


def test_of_a_log_normal_distribution_is_that_of_its_logarithm() -> None:
    raw = torch.tensor([[0.3, 0.7], [-2.0, -1.0]])
    head = LogNormalHead(shift=1.0, scale=1.0)
    torch.testing.assert_close(
        fisher_information(head, raw), fisher_information(NormalHead(), raw), rtol=1e-6, atol=1e-9
    )


def test_of_two_classes_in_closed_form() -> None:
    raw = torch.tensor([[-3.0], [0.0], [40.0]])
    p = raw.double().sigmoid()
    found = fisher_information(BernoulliHead(), raw)
    torch.testing.assert_close(found[..., 0], p * (1 - p), rtol=1e-6, atol=1e-12)


def test_of_a_mixture_is_the_integral_and_positive() -> None:
    head, raw = MixtureHead(3), torch.randn(8, 9, generator=torch.Generator().manual_seed(1))
    found = fisher_information(head, raw)
    y = torch.linspace(-40, 40, 10_001, dtype=torch.float64).unsqueeze(1)
    for row in range(len(raw)):
        copies = raw[row].double().repeat(len(y), 1, 1).requires_grad_()
        log_prob = head(copies).log_prob(y)
        (gradient,) = torch.autograd.grad(log_prob.sum(), copies)
        density = log_prob.detach().exp() * 80 / 10_000
        exact = torch.einsum("qn,qni,qnj->ij", density, gradient, gradient)
        scale = exact.diagonal().sqrt()
        assert ((found[row] - exact) / (scale * scale.unsqueeze(1))).abs().max() < 0.04
    assert torch.linalg.eigvalsh(found).min() > -1e-12
    one = fisher_information(MixtureHead(1), torch.tensor([[0.3, 0.7, 5.0]]))
    normal = fisher_information(NormalHead(), torch.tensor([[0.3, 0.7]]))
    torch.testing.assert_close(one[:, :2, :2], normal)
    assert one[:, 2].abs().max() < 1e-12  # the logit of the only part means nothing


def test_other_distributions_are_refused() -> None:
    with pytest.raises(ConfigError, match="the model predicts StudentT; needed: Normal"):
        fisher_information(Other(), torch.ones(1, 1))
