"""An adversary that guesses the nuisance from the score, and the reversal of its gradient."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.losses.checks import check_input, columns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Adversary", "reversed_gradient"]

_LOG_DEVIATION = (-5.0, 2.0)  # of a component, in units of the nuisance's spread


def reversed_gradient(values: Tensor, *, strength: float = 1.0) -> Tensor:
    r"""Return the values unchanged; their gradient comes back times -strength.

    .. math:: R(x) = x, \quad dR/dx = -\lambda

    Reference: arXiv:1409.7495, arXiv:1703.03507.

    Args:
        values: Any tensor.
        strength: The factor lambda.
    """
    result: Tensor = _Reversal.apply(values, strength)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return result


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * upstream, None


class Adversary(nn.Module):
    r"""Mixture of normal densities of the nuisance, given the score and auxiliary inputs.

    .. math:: L_{adv} = -\langle w \ln p(m | s, a) \rangle, \quad
        p = \sum_k \pi_k(s, a)\, N(m; \mu_k(s, a), \sigma_k(s, a))

    At its optimum :math:`L_{adv}` is the conditional entropy of m: that of m itself, if the score
    tells nothing about it. A classifier that minimises
    :math:`L_{clf} - \lambda L_{adv}` has to hide m; the auxiliary inputs, such as ln pt, are known
    to the adversary anyway, so that what they tell about m costs nothing. With `bounds` each
    component has its centre in that interval and is normalised on it. Several nuisances are
    guessed one by one, with the mean of their terms.

    Nuisances and auxiliary inputs are shifted and scaled as `fit` has seen them; densities are per
    unit of the nuisance.

    Reference: arXiv:1611.01046, arXiv:1703.03507, ATL-PHYS-PUB-2018-014.

    Args:
        nuisances: Number of protected variables.
        auxiliary: Number of auxiliary inputs.
        hidden: Widths of the hidden layers (ReLU).
        components: Normal densities in the mixture of each nuisance.
        bounds: Ends of the interval on which the components are normalised, in the unit of the
            nuisance; for one nuisance.

    Raises:
        ConfigError: if a number is not positive, or the bounds are no interval.
    """

    shift: Tensor
    scale: Tensor
    auxiliary_shift: Tensor
    auxiliary_scale: Tensor

    def __init__(
        self,
        *,
        nuisances: int = 1,
        auxiliary: int = 0,
        hidden: Sequence[int] = (64,),
        components: int = 20,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if min(nuisances, components, *hidden) < 1 or auxiliary < 0:
            msg = (
                f"Adversary: nuisances {nuisances}, components {components}, "
                f"hidden {list(hidden)}, auxiliary {auxiliary}; needed: at least 1, auxiliary 0"
            )
            raise ConfigError(msg)
        if bounds is not None and (nuisances != 1 or not bounds[0] < bounds[1]):
            msg = f"Adversary: bounds {bounds} for {nuisances} nuisances; needed: low < high, for 1"
            raise ConfigError(msg)
        self.nuisances, self.auxiliary, self.components = nuisances, auxiliary, components
        self.bounds = bounds
        layers: list[nn.Module] = []
        widths = [1 + auxiliary, *hidden]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], nuisances * 3 * components)
        self.register_buffer("shift", torch.zeros(nuisances))
        self.register_buffer("scale", torch.ones(nuisances))
        self.register_buffer("auxiliary_shift", torch.zeros(auxiliary))
        self.register_buffer("auxiliary_scale", torch.ones(auxiliary))
        self._spread()

    @torch.no_grad()
    def fit(self, nuisance: Tensor, auxiliary: Tensor | None = None) -> None:
        """Learn shifts and scales: mean and standard deviation, of the bounds for the nuisance.

        Shapes:
            nuisance: (n,) or (n, nuisances); auxiliary: (n, auxiliary)

        Raises:
            DataError: if a nuisance or auxiliary input is constant.
        """
        if self.bounds is None:
            columns = columns_of(nuisance)
            self.shift.copy_(columns.mean(0))
            self.scale.copy_(_deviation(columns, "nuisance"))
        else:
            low, high = self.bounds
            self.shift.fill_((low + high) / 2)
            self.scale.fill_((high - low) / 12**0.5)
        if self.auxiliary and auxiliary is not None:
            self.auxiliary_shift.copy_(auxiliary.mean(0))
            self.auxiliary_scale.copy_(_deviation(auxiliary, "auxiliary input"))

    def forward(
        self,
        score: Tensor,
        nuisance: Tensor,
        *,
        weight: Tensor | None = None,
        auxiliary: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the adversary [nat], the mean over the nuisances.

        Args:
            score: Tagger output.
            nuisance: Protected variables.
            weight: Event weights of any scale, not negative.
            auxiliary: What the adversary may know beside the score.

        Shapes:
            score: (n,); nuisance: (n,) or (n, nuisances); weight: (n,); auxiliary: (n, auxiliary)
            -> scalar

        Raises:
            ShapeError: if a shape is not one of these.
            DataError: if a value is not finite, a weight negative, or a nuisance out of bounds.
        """
        check_input("Adversary", score, nuisance, weight)
        columns = columns_of(nuisance)
        given = 0 if auxiliary is None else auxiliary.shape[-1]
        if columns.shape[1] != self.nuisances or given != self.auxiliary:
            msg = (
                f"Adversary: {columns.shape[1]} nuisances, {given} auxiliary inputs; needed: "
                f"{self.nuisances}, {self.auxiliary}"
            )
            raise ShapeError(msg)
        self._check_bounds(columns)
        losses = -self._log_density(score, columns, auxiliary).mean(1)
        if weight is None:
            return losses.mean()
        return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(losses.dtype).tiny)

    def _log_density(self, score: Tensor, columns: Tensor, auxiliary: Tensor | None) -> Tensor:
        """Return ln p of each nuisance, (n, nuisances)."""
        known = [2.0 * score.unsqueeze(1) - 1.0]
        if auxiliary is not None:
            known.append((auxiliary - self.auxiliary_shift) / self.auxiliary_scale)
        raw = self.last(self.hidden(torch.cat(known, 1).to(self.shift.dtype)))
        logits, means, logarithms = raw.view(len(raw), self.nuisances, 3, -1).unbind(2)
        logarithms = logarithms.clamp(*_LOG_DEVIATION)
        if self.bounds is not None:
            low, high = self._ends()
            means = low.view(-1, 1) + (high - low).view(-1, 1) * means.sigmoid()
        places = ((columns - self.shift) / self.scale).unsqueeze(2)
        pulls = (places - means) * (-logarithms).exp()
        parts = -0.5 * pulls.square() - logarithms - 0.5 * math.log(2.0 * math.pi)
        if self.bounds is not None:
            parts = parts - _log_inside(means, logarithms, self._ends())
        weights = functional.log_softmax(logits, dim=2)
        return torch.logsumexp(weights + parts, dim=2) - self.scale.log()

    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high = self.bounds or (-math.inf, math.inf)
        return (low - self.shift) / self.scale, (high - self.shift) / self.scale

    def _check_bounds(self, columns: Tensor) -> None:
        if self.bounds is None:
            return
        outside = (columns < self.bounds[0]) | (columns > self.bounds[1])
        if bool(outside.any()):
            first = int(outside.any(1).nonzero()[0])
            msg = (
                f"Adversary: nuisance {columns[first].tolist()} in row {first} and "
                f"{int(outside.sum()) - 1} others are outside the bounds {self.bounds}"
            )
            raise DataError(msg)

    @torch.no_grad()
    def _spread(self) -> None:
        """Let the components start side by side, as wide as the nuisance varies."""
        nn.init.normal_(self.last.weight, std=0.01)
        bias = torch.zeros(self.nuisances, 3, self.components)
        bias[:, 1] = torch.linspace(-1.5, 1.5, self.components)
        self.last.bias.copy_(bias.flatten())


def _deviation(columns: Tensor, what: str) -> Tensor:
    deviation = columns.std(0)
    if not bool((deviation > 0).all()):
        msg = f"Adversary: a {what} is constant: {columns[0].tolist()}; leave it out"
        raise DataError(msg)
    return deviation


def _log_inside(means: Tensor, logarithms: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
    """Return the logarithm of the part of each normal density between the ends."""
    low, high = (((end.view(1, -1, 1) - means) * (-logarithms).exp()) for end in ends)
    # The smaller tails are subtracted from each other: far outside both are tiny.
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    logarithm: Tensor = inside.clamp(min=torch.finfo(means.dtype).tiny).log()
    return logarithm
