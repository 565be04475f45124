"""Generalised numerical inversion: the measured energy as a monotone function of the true one."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.distributions import Normal

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.losses.pinball import pinball
from hepcalib.models.heads import Head
from hepcalib.models.model import ONE_SIGMA, Model, described
from hepcalib.models.wrapping import require_plain

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.batch import Batch

__all__ = ["Curves", "GeneralisedInversion", "InversionHead", "Inverted"]

STATISTICS = ("median", "mean")
_FLAT = 0.01  # smallest slope and width, in units of the measured feature per standard deviation
_ONE = math.log(math.expm1(1.0 - _FLAT))  # raw slope of a curve that rises by one


class Curves(NamedTuple):
    r"""What is measured minus one's own measurement, as functions of the standardised truth u.

    The central curve is the integral of a slope that is positive and linear between equidistant
    knots; beyond the last knots it is straight. The half-widths are linear between the knots.
    """

    offset: Tensor  # (...,): the central curve at u = 0
    slopes: Tensor  # (..., knots), positive
    lower: Tensor  # (..., knots): from the central curve down to the 15.87 % quantile
    upper: Tensor  # (..., knots): and up to the 84.13 % quantile
    low: float  # first knot
    step: float  # distance of the knots

    def at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the central curve at u and the half-widths below and above it, each (...)."""
        heights, u = self._heights(), u.expand(self.offset.shape)
        place = (u - self.low) / self.step
        left = place.detach().floor().clamp(0, self.slopes.shape[-1] - 2)
        share = (place - left).clamp(0.0, 1.0)
        beyond = place - left - share
        start, end = _pair(self.slopes, left)
        rise = share * (start + 0.5 * share * (end - start)) + beyond.clamp(max=0.0) * start
        rise = rise + beyond.clamp(min=0.0) * end
        centre = _pair(heights, left)[0] + self.step * rise
        lower, upper = (
            first + share * (second - first)
            for first, second in (_pair(self.lower, left), _pair(self.upper, left))
        )
        return centre, lower, upper

    def zero(self) -> tuple[Tensor, Tensor]:
        """Return where the central curve is zero, and its slope there; both (...), exact."""
        heights = self._heights()
        left = (heights < 0).sum(-1, keepdim=True).sub(1).clamp(0, heights.shape[-1] - 2)
        left = left.squeeze(-1).to(heights.dtype)
        start, end = _pair(self.slopes, left)
        first, second = _pair(heights, left)
        below, above = first.clamp(min=0.0), second.clamp(max=0.0)
        need = (below - first) / self.step  # zero for a root before the first knot
        need = torch.minimum(need, 0.5 * (start + end))
        # The stable root of start t + (end - start) t^2 / 2 = need.
        root = (start.square() + 2.0 * (end - start) * need).clamp(min=_FLAT**2 / 4).sqrt()
        share = 2.0 * need / (start + root)
        outside = -below / (self.step * start) - above / (self.step * end)
        slope = start + share.clamp(0.0, 1.0) * (end - start)
        return self.low + self.step * (left + share + outside), slope

    def _heights(self) -> Tensor:
        """Return the central curve at the knots, (..., knots)."""
        rises = 0.5 * self.step * (self.slopes[..., 1:] + self.slopes[..., :-1])
        from_first = nn.functional.pad(rises.cumsum(-1), (1, 0))
        middle = -self.low / self.step
        left = min(max(math.floor(middle), 0), self.slopes.shape[-1] - 2)
        share = middle - left
        start, end = self.slopes[..., left], self.slopes[..., left + 1]
        at_zero = from_first[..., left]
        at_zero = at_zero + self.step * share * (start + 0.5 * share * (end - start))
        heights: Tensor = from_first - at_zero.unsqueeze(-1) + self.offset.unsqueeze(-1)
        return heights


class Inverted(Normal):
    """The normal distribution of the truth that an inversion gives, and the curves behind it."""

    curves: Curves

    @classmethod
    def of(cls, mean: Tensor, deviation: Tensor, *, curves: Curves) -> Inverted:
        """Return the distribution with its curves; what is derived from it may have none."""
        found = cls(mean, deviation, validate_args=False)
        found.curves = curves
        return found


class InversionHead(Head):
    r"""Where a monotone curve is zero: the truth z that was measured.

    .. math:: f(\hat z) = y, \quad p(z) = N(\hat z, (\sigma / f'(\hat z))^2)

    from f - y and the half-widths of p(y | z). The slope f' is positive and linear between knots in
    u = (z - b) / c, so that the zero is found exactly, and f is straight beyond the knots.

    Reference: arXiv:1609.05195, ATL-PHYS-PUB-2018-013.

    Args:
        knots: Number of knots.
        low: First knot, in standard deviations of the target from its mean.
        high: Last knot.
        shift: The mean b of the target, in its unit.
        scale: The standard deviation c of the target, in its unit.

    Raises:
        ConfigError: if there are fewer than two knots, low < 0 < high does not hold, shift or scale
            is not finite, or scale not positive.
    """

    def __init__(
        self,
        knots: int = 13,
        low: float = -2.0,
        high: float = 4.0,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if knots < 2 or not (-math.inf < low < 0.0 < high < math.inf):
            msg = (
                f"InversionHead: {knots} knots, {low} to {high}; needed: 2 or more, low < 0 < high"
            )
            raise ConfigError(msg)
        if not (math.isfinite(shift) and 0.0 < scale < math.inf):
            msg = f"InversionHead: shift {shift}, scale {scale}; needed: finite, scale > 0"
            raise ConfigError(msg)
        self.knots, self.low, self.high = knots, float(low), float(high)
        self.shift, self.scale = float(shift), float(scale)
        self.outputs = 1 + 3 * knots

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "knots": self.knots,
            "low": self.low,
            "high": self.high,
            "shift": self.shift,
            "scale": self.scale,
        }

    def curves(self, raw: Tensor) -> Curves:
        """Return the curves that raw outputs (..., outputs) describe."""
        offset, rest = raw[..., 0], _FLAT + nn.functional.softplus(raw[..., 1:] + _ONE)
        slopes, lower, upper = rest.chunk(3, -1)
        step = (self.high - self.low) / (self.knots - 1)
        return Curves(offset, slopes, 0.3 * lower, 0.3 * upper, self.low, step)

    def standardised(self, target: Tensor) -> Tensor:
        """Return (target - shift) / scale."""
        return (target - self.shift) / self.scale

    def distribution(self, raw: Tensor) -> Inverted:
        """Return the normal distribution of the truth."""
        curves = self.curves(raw)
        u, slope = curves.zero()
        _, lower, upper = curves.at(u)
        deviation = self.scale * 0.5 * (lower + upper) / slope
        return Inverted.of(self.shift + self.scale * u, deviation, curves=curves)


class GeneralisedInversion(Model):
    r"""Generalised numerical inversion: a calibration that no training spectrum enters.

    Learns the median (or mean) of the measured feature y for a given truth z and all other features
    theta, and predicts where it equals the measurement:

    .. math:: L_f(z, \theta) = T[Y | Z = z, \theta], \quad \hat z = L_f^{-1}(y, \theta)

    The wrapped model sees theta and returns the curve z -> L_f, increasing by construction. So the
    inverse is exact and needs no second fit, closes for each theta, and is straight outside of the
    range that was learnt. Leave out features that tell the energy again: for given theta they
    flatten the curve, and make the inverse imprecise.

    Reference: ATL-PHYS-PUB-2018-013; quantile loss arXiv:1910.03773.

    Args:
        model: Any plain model with an `InversionHead`. It is copied; it sees 0 for the measured
            feature. Wrappers that make it uncertain go around the inversion.
        measured: Which feature is measured, an increasing function of the uncalibrated energy.
        statistic: "median" or "mean" of that feature; only the median commutes with transforms.

    Raises:
        ConfigError: if the head is another one, the model has members of its own or is an inversion
            already, or the statistic is unknown.
    """

    head: InversionHead

    def __init__(self, model: Model, *, measured: int = 0, statistic: str = "median") -> None:
        super().__init__()
        require_plain(model, "GeneralisedInversion")
        if isinstance(model, GeneralisedInversion):
            msg = "GeneralisedInversion: the model is an inversion already; needed: a plain model"
            raise ConfigError(msg)
        if not isinstance(model.head, InversionHead) or measured < 0 or statistic not in STATISTICS:
            msg = (
                f"GeneralisedInversion: head {type(model.head).__name__}, measured {measured}, "
                f"statistic '{statistic}'; needed: InversionHead, at least 0, one of {STATISTICS}"
            )
            raise ConfigError(msg)
        self.model = copy.deepcopy(model)
        self.head = model.head
        self.measured, self.statistic = measured, statistic

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": described(self.model),
            "measured": self.measured,
            "statistic": self.statistic,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw curves minus the measurement, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has no such feature.
        """
        theta, measured = self._split(batch)
        return _lowered(self.model.outputs(theta), measured)

    def loss(self, predicted: Inverted, target: Tensor) -> Tensor:
        r"""Return the loss of the curves at the true z, (rows,).

        .. math:: \sum_q \max(-q u_q, (1 - q) u_q), \quad u_q = L_q(z, \theta) - y

        with the median and the quantiles at one standard deviation; for "mean" the central term is
        u^2 / 2. The outer quantiles do not move the central curve.
        """
        centre, lower, upper = predicted.curves.at(self.head.standardised(target))
        if self.statistic == "mean":
            central = 0.5 * centre.square()
        else:
            central = pinball(centre, probability=0.5)
        fixed, tail = centre.detach(), 0.5 * (1.0 - ONE_SIGMA)
        below = pinball(fixed - lower, probability=tail)
        return central + below + pinball(fixed + upper, probability=1.0 - tail)

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return that of the wrapped model."""
        return self.model.regulariser(predicted, target, rows=rows, weight=weight)

    def _split(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Return the batch without the measured feature, and that feature (rows,)."""
        features = batch.features
        if features is None or features.dim() != 2 or features.shape[1] <= self.measured:
            seen = "none" if features is None else f"shape {tuple(features.shape)}"
            msg = f"GeneralisedInversion: features {seen}; needed: more than {self.measured}"
            raise ShapeError(msg)
        kept = torch.ones(features.shape[1], dtype=features.dtype, device=features.device)
        kept[self.measured] = 0.0
        return batch._replace(features=features * kept), features[:, self.measured]


def _pair(values: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values at the knots left and right of each row, (...) each."""
    place = left.long().unsqueeze(-1)
    first, second = values.gather(-1, place), values.gather(-1, place + 1)
    return first.squeeze(-1), second.squeeze(-1)


def _lowered(raw: Tensor, measured: Tensor) -> Tensor:
    return torch.cat([raw[..., :1] - measured.to(raw.dtype).unsqueeze(-1), raw[..., 1:]], dim=-1)
