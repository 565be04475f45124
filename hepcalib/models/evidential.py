"""Deep evidential regression: one network predicts a distribution of normal distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Normal, StudentT
from torch.nn import functional

from hepcalib.exceptions import ConfigError
from hepcalib.models.heads.head import ScaledHead
from hepcalib.models.model import described
from hepcalib.models.wrapping import Wrapper, require_plain

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.model import Model

__all__ = ["Evidence", "Evidential", "EvidentialHead"]

LEAST_EVIDENCE = 0.01  # of nu and alpha - 1: statistical at most 10 times systematic
LEAST_BETA = 1e-8  # in units of scale^2
MOST_NODES = 50  # up to here the approximate quantiles of the inverse gamma distribution serve


class Evidence(StudentT):
    r"""The predictive distribution of a normal-inverse-gamma distribution of mean and variance.

    .. math:: \sigma^2 \sim \Gamma^{-1}(\alpha, \beta), \quad
        \mu \sim N(\gamma, \sigma^2 / \nu), \quad
        y \sim N(\mu, \sigma^2) \;\Rightarrow\;
        y \sim St_{2 \alpha}\left(\gamma, \frac{\beta (1 + \nu)}{\nu \alpha}\right)

    Args:
        gamma: Mean, in the unit of the target.
        nu: Number of examples that the mean is worth, positive.
        excess: alpha - 1, positive.
        beta: Scale of the variance, positive, in the unit of the target squared.

    Shapes:
        gamma, nu, excess, beta: (...) -> batch shape (...)
    """

    def __init__(self, gamma: Tensor, nu: Tensor, excess: Tensor, beta: Tensor) -> None:
        self.nu, self.excess, self.beta = nu, excess, beta
        alpha = 1.0 + excess
        width = (beta * (1.0 + nu) / (nu * alpha)).sqrt()
        super().__init__(2.0 * alpha, gamma, width, validate_args=False)

    @property
    def variance(self) -> Tensor:
        """Variance: the systematic and the statistical one, beta (1 + 1/nu) / (alpha - 1)."""
        return self.beta / self.excess * (1.0 + 1.0 / self.nu)

    def members(self, nodes: int) -> Normal:
        r"""Return normal distributions of equal weight that stand for those of this distribution.

        The variance stands at its means in ``nodes`` cells of about equal probability, the mean,
        given the variance, at its means in 2 ``nodes`` cells of equal probability, stretched to
        unit variance. As cell means average to the mean, the moments are exact:

        .. math:: \langle s_m^2 \rangle = \frac{\beta}{\alpha - 1}, \quad
            \mathrm{Var}\, \mu_m = \frac{\beta}{\nu (\alpha - 1)}

        There is no gradient through the shape of the distribution of the variance.

        Shapes:
            -> batch shape (2 * nodes^2, ...)
        """
        variances = self.beta / self.excess * _inverse_gamma_cells(self.excess, nodes)
        z = _normal_cells(2 * nodes).to(variances).view(-1, *[1] * variances.dim())
        means = self.loc + z * (variances / self.nu).sqrt()
        deviations = variances.sqrt().expand_as(means)
        return Normal(means.flatten(0, 1), deviations.flatten(0, 1), validate_args=False)


class EvidentialHead(ScaledHead):
    r"""A Student distribution from raw (gamma, nu, alpha, beta), see `Evidence`.

    .. math:: \gamma = b + c r_1, \quad \nu = \zeta(r_2) + 0.01, \quad
        \alpha = 1 + \zeta(r_3) + 0.01, \quad \beta = c^2 (\zeta(r_4) + 10^{-8}), \quad
        \zeta(r) = \ln(1 + e^r)

    The constants keep the variance finite. Reference: arXiv:1910.02600.

    Args:
        shift: The mean b of the target, in its unit.
        scale: The standard deviation c of the target, in its unit.

    Raises:
        ConfigError: if shift or scale is not finite, or scale not positive.
    """

    outputs = 4

    def distribution(self, raw: Tensor) -> Evidence:
        """Return the Student distribution."""
        gamma, *others = raw.unbind(-1)
        nu, excess, beta = (functional.softplus(other) for other in others)
        return Evidence(
            self.shift + self.scale * gamma,
            nu + LEAST_EVIDENCE,
            excess + LEAST_EVIDENCE,
            self.scale**2 * (beta + LEAST_BETA),
        )


class Evidential(Wrapper):
    r"""A model with an `EvidentialHead`, regularised, whose prediction is split by its origin.

    .. math:: loss = -\ln St(y) + \lambda \left\langle \frac{|y - \gamma|}{c}
        (2 \nu + \alpha) \right\rangle, \quad
        \sigma_{syst}^2 = \frac{\beta}{\alpha - 1}, \quad
        \sigma_{stat}^2 = \frac{\beta}{\nu (\alpha - 1)}

    The members of a prediction are 2 nodes^2 fixed normal distributions with these variances
    exactly. With 8 nodes the distribution function of their mixture differs from that of the
    Student distribution by at most 0.01, and its 68 % interval is up to 5 % wider, for alpha from
    1.5 and nu from 0.01; by 0.03 and 8 % from alpha = 1.1, where the variance is hardly finite.

    The split is a convention: the likelihood knows beta (1 + nu) / (nu alpha) and alpha only, so
    that nu, the ratio of the two variances, is chosen by the regulariser and the start of the
    training, not by the data (arXiv:2205.10060). The total does not suffer.

    Reference: arXiv:1910.02600.

    Args:
        model: Any model with an `EvidentialHead` and no members of its own. It is copied.
        regularisation: Factor lambda of the regulariser.
        nodes: Number of values of the variance; there are twice as many of the mean for each.

    Raises:
        ConfigError: if the model has another head or members of its own, or a number is out of
            range.
    """

    def __init__(self, model: Model, *, regularisation: float = 0.01, nodes: int = 8) -> None:
        require_plain(model, "Evidential")
        if not isinstance(model.head, EvidentialHead):
            name = type(model.head).__name__
            msg = f"Evidential: the head of the model is {name}; needed: EvidentialHead"
            raise ConfigError(msg)
        if not 0.0 <= regularisation < math.inf or not 1 <= nodes <= MOST_NODES:
            msg = (
                f"Evidential: regularisation is {regularisation}, nodes {nodes}; "
                f"needed: finite and at least 0, 1 to {MOST_NODES}"
            )
            raise ConfigError(msg)
        super().__init__(model)
        self.scale = model.head.scale
        self.regularisation, self.nodes = regularisation, nodes

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": described(self.model),
            "regularisation": self.regularisation,
            "nodes": self.nodes,
        }

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return the evidence claimed where the prediction is wrong, and the model's own term."""
        error = (target - predicted.loc).abs() / self.scale
        evidence = 2.0 * predicted.nu + 1.0 + predicted.excess
        claimed = error * evidence if weight is None else weight * error * evidence
        own: Tensor = self.regularisation * claimed.mean()
        return own + super().regulariser(predicted, target, rows=rows, weight=weight)

    def members(self, batch: Batch) -> Normal:
        """Return the normal distributions of the prediction, batch shape (2 * nodes^2, rows)."""
        distribution: Evidence = self.head(self.outputs(batch))
        return distribution.members(self.nodes)


@torch.no_grad()
def _inverse_gamma_cells(excess: Tensor, nodes: int) -> Tensor:
    """Return the means of an inverse gamma variable in cells over its mean, (nodes, ...).

    The cells lie between approximate quantiles (Wilson and Hilferty); the mean of the cells is
    exact for any: the share of a cell in the mean is its probability for alpha - 1.
    """
    alpha = 1.0 + excess.double()
    z = torch.special.ndtri(torch.arange(1, nodes, dtype=alpha.dtype, device=alpha.device) / nodes)
    z = z.view(-1, *[1] * alpha.dim())
    edges = alpha * (1.0 - 1.0 / (9.0 * alpha) + z / (3.0 * alpha.sqrt())) ** 3
    below = torch.special.gammainc(excess.double().expand_as(edges), edges)
    ends = torch.zeros_like(alpha).unsqueeze(0)
    return (nodes * torch.cat([ends, below, ends + 1.0]).diff(dim=0)).to(excess)


def _normal_cells(cells: int) -> Tensor:
    """Return the means of a normal variable in cells of equal probability, of unit variance."""
    edges = torch.special.ndtri(torch.arange(1, cells, dtype=torch.float64) / cells)
    density = functional.pad((-0.5 * edges.square()).exp(), (1, 1))
    means = -density.diff()
    return means / means.square().mean().sqrt()
