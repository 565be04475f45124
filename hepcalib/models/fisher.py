"""The Fisher information of the raw outputs of a network, for any head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.distributions import Bernoulli
from torch.nn import functional

from hepcalib.models.normal_parts import NormalParts, normal_parts

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.models.heads import Head

__all__ = ["fisher_information"]

HERMITE = 8  # Gauss-Hermite nodes; exact for polynomials of the target up to degree 15
NODES, REACH = 25, 6.0  # nodes of each part of a mixture; where they end [standard deviations]


def fisher_information(head: Head, raw: Tensor) -> Tensor:
    r"""Return the expectation of g g^T under the predicted distribution itself.

    .. math:: F = \int dy\, p(y|r)\, g g^T, \quad g = \nabla_r \ln p(y|r)

    The integral is a sum over targets, positive semi-definite and without noise: the two classes,
    the Gauss-Hermite nodes of a normal distribution, or for a mixture the nodes of all its parts
    together, half a standard deviation apart. It is exact for Bernoulli(p), p (1 - p), and for
    N(mu, sigma^2) of the raw outputs (mu, ln sigma^2), diag(1 / sigma^2, 1 / 2), and good to some
    3 % of the diagonal for mixtures. Beyond the range in which a head keeps an output there is no
    information on it.

    Reference: arXiv:1412.1193.

    Args:
        head: Makes the distribution, Bernoulli or of (log-)normal parts, from raw outputs.
        raw: Raw outputs.

    Shapes:
        raw: (rows, outputs) -> (rows, outputs, outputs), in double precision

    Raises:
        ConfigError: if the distribution is something else.
    """
    raw = raw.detach().double()
    with torch.no_grad():
        targets, probabilities = _nodes(head(raw))
    with torch.enable_grad():
        copies = raw.repeat(len(targets), 1, 1).requires_grad_()
        (gradients,) = torch.autograd.grad(head(copies).log_prob(targets).sum(), copies)
    weighted = probabilities.unsqueeze(-1) * gradients
    return torch.einsum("qni,qnj->nij", weighted, gradients)


def _nodes(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Return targets and their probabilities, (nodes, rows) each."""
    if type(distribution) is Bernoulli:  # and none that is judged by another loss
        signal = distribution.probs
        zeros = torch.zeros_like(signal)
        return torch.stack([zeros, zeros + 1.0]), torch.stack([1.0 - signal, signal])
    parts = normal_parts(distribution, where="fisher_information")
    nodes, probabilities = (_hermite if parts.means.shape[-1] == 1 else _grid)(parts)
    return (nodes.exp() if parts.logarithmic else nodes), probabilities


def _hermite(part: NormalParts) -> tuple[Tensor, Tensor]:
    pull, shares = (
        torch.from_numpy(values).to(part.means).unsqueeze(1)
        for values in np.polynomial.hermite_e.hermegauss(HERMITE)
    )
    nodes = part.means.squeeze(-1) + part.deviations.squeeze(-1) * pull
    return nodes, (shares / shares.sum()).expand_as(nodes)


def _grid(parts: NormalParts) -> tuple[Tensor, Tensor]:
    """The trapezoidal rule between the nodes of all parts, in their order."""
    pull = torch.linspace(-REACH, REACH, NODES, dtype=torch.float64, device=parts.means.device)
    nodes = (parts.means.unsqueeze(-1) + parts.deviations.unsqueeze(-1) * pull).flatten(1)
    nodes = nodes.sort(1).values.mT
    gaps = nodes.diff(dim=0)
    steps = 0.5 * (functional.pad(gaps, (0, 0, 1, 0)) + functional.pad(gaps, (0, 0, 0, 1)))
    probabilities = steps * parts.density(nodes)
    return nodes, probabilities / probabilities.sum(0)
