"""A value without a width, learnt with a loss that makes it a location of the target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.losses.leaky_gaussian_kernel import leaky_gaussian_kernel
from hepcalib.losses.pinball import pinball
from hepcalib.losses.point import Point
from hepcalib.models.heads.head import ScaledHead

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "PointHead"]

LOSSES = ("leaky_gaussian_kernel", "mae", "mse", "pinball")
LOG_RATIO = 12.0  # |ln(value / shift)| of a positive value: beyond it the response means nothing


class PointHead(ScaledHead):
    r"""One value, without a width, and in place of the density minus the loss.

    The residual is u = v - y, or u = v / y - 1 if relative; each loss makes v a location of p(y):

    .. math::
        \text{leaky\_gaussian\_kernel: } -\frac{e^{-u^2 / 2 h^2}}{h \sqrt{2 \pi}} + \alpha |u|
            \quad \text{(mode as } h \to 0\text{)} \\
        \text{mse: } u^2 \text{ (mean)}, \quad \text{mae: } |u| \text{ (median)}, \quad
        \text{pinball: } \max(-p u, (1 - p) u) \text{ (quantile } p\text{)}

    With a relative residual and h -> 0 the first is the mode of ln y, not of y; the others weigh
    the targets with powers of 1 / y. The value is

    .. math:: v = b + c a, \quad \text{or if relative} \quad v = b \, e^{c a / b} > 0

    from the output a, where the exponent is kept in [-12, 12].

    The leak alpha attracts values that are too far from their targets for the kernel, and biases
    those that are near. With ``leak_steps`` it is 0 after so many training steps, which are the
    calls in training mode. Reference: ATL-PHYS-PUB-2018-013, arXiv:2412.04370.

    Args:
        loss: One of leaky_gaussian_kernel, mae, mse, pinball.
        h: Width of the kernel, in the unit of u.
        alpha: Slope of the leak.
        leak_steps: Training steps with a leak; None for all.
        probability: The fraction p of the pinball loss.
        shift: The mean b of the target, in its unit; positive if relative.
        scale: The standard deviation c of the target, in its unit.
        relative: Whether the residual is relative; for positive targets.

    Raises:
        ConfigError: if the loss is unknown or one of the numbers is not possible.
    """

    outputs = 1

    def __init__(
        self,
        loss: str = "leaky_gaussian_kernel",
        *,
        h: float = 0.1,
        alpha: float = 0.05,
        leak_steps: int | None = None,
        probability: float = 0.5,
        shift: float = 0.0,
        scale: float = 1.0,
        relative: bool = False,
    ) -> None:
        super().__init__(shift, scale)
        self.loss, self.h, self.alpha, self.leak_steps = loss, float(h), float(alpha), leak_steps
        self.probability, self.relative = float(probability), relative
        self._require_possible()

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "loss": self.loss,
            "h": self.h,
            "alpha": self.alpha,
            "leak_steps": self.leak_steps,
            "probability": self.probability,
            **super().config,
            "relative": self.relative,
        }

    def distribution(self, raw: Tensor) -> Point:
        """Return the value and its loss."""
        self.steps += self.training
        output = raw.squeeze(-1)
        if self.relative:
            exponent = (self.scale / self.shift * output).clamp(-LOG_RATIO, LOG_RATIO)
            return Point(self.shift * exponent.exp(), self._loss)
        return Point(self.shift + self.scale * output, self._loss)

    def _loss(self, value: Tensor, target: Tensor) -> Tensor:
        residual = value / target - 1.0 if self.relative else value - target
        if self.loss == "mse":
            return residual.square()
        if self.loss == "mae":
            return residual.abs()
        if self.loss == "pinball":
            return pinball(residual, probability=self.probability)
        leaks = self.leak_steps is None or self.steps <= self.leak_steps
        return leaky_gaussian_kernel(residual, h=self.h, alpha=self.alpha if leaks else 0.0)

    def _require_possible(self) -> None:
        if self.loss not in LOSSES:
            msg = f"PointHead: unknown loss '{self.loss}'. {suggestion(self.loss, LOSSES)}"
            raise ConfigError(msg)
        for name, value, good, needed in (
            ("h", self.h, 0.0 < self.h < math.inf, "above 0 and finite"),
            ("alpha", self.alpha, 0.0 <= self.alpha < math.inf, "at least 0 and finite"),
            ("leak_steps", self.leak_steps, (self.leak_steps or 0) >= 0, "at least 0, or None"),
            ("probability", self.probability, 0.0 < self.probability < 1.0, "above 0, below 1"),
            ("shift", self.shift, self.shift > 0 or not self.relative, "above 0, as relative"),
        ):
            if not good:
                msg = f"PointHead: {name} is {value}; needed: {needed}"
                raise ConfigError(msg)
