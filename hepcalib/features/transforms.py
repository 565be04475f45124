"""Elementwise transforms of one column; their constants are buffers, saved with the weights."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError, DataError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

__all__ = ["Chain", "Clip", "Identity", "Log10", "SignedCbrt", "Standardise"]

# Below this share of its own magnitude a spread is float32 rounding: the column is constant.
_CONSTANT = 1e-6


class Transform(nn.Module):
    """One elementwise map of a column; its buffers hold what `fit` learned."""

    @property
    def config(self) -> dict[str, Any]:
        """The name and the constructor keywords, JSON-able; `build` is the inverse."""
        return {"name": type(self).__name__}

    def fit(self, values: Tensor) -> Self:
        """Learn the constants from a training column and return the transform itself.

        Args:
            values: The column before this transform, finite.

        Shapes:
            values: (items,) or (items, 1)

        Raises:
            DataError: if the column is empty or not finite.
        """
        _require_finite(values, type(self).__name__)
        return self


class Identity(Transform):
    """The value itself, for flags that are 0 or 1 already."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the values unchanged; any shape."""
        return values


class Log10(Transform):
    r"""Decimal logarithm with a floor, finite for zero and negative values.

    .. math:: f(x) = \log_{10} \max(x, floor)

    Args:
        floor: Smallest argument of the logarithm, in the unit of the column, positive. Without
            one, `fit` takes the smallest positive value of the training sample.
    """

    floor: Tensor

    def __init__(self, *, floor: float | None = None) -> None:
        super().__init__()
        if floor is not None and not 0 < floor < float("inf"):
            msg = f"Log10: floor {floor} must be positive and finite"
            raise ConfigError(msg)
        self._floor = floor
        self.register_buffer(
            "floor", torch.tensor(1.0 if floor is None else floor, dtype=torch.float32)
        )

    @property
    def config(self) -> dict[str, Any]:
        """The name and the explicit floor, None if it is learned."""
        return {"name": "Log10", "floor": self._floor}

    def fit(self, values: Tensor) -> Self:
        """Learn the floor, unless it was given, from a column that has positive values."""
        super().fit(values)
        if self._floor is None:
            positive = values[values > 0]
            if positive.numel() == 0:
                msg = f"Log10: none of {values.numel()} training values is positive; give a floor"
                raise DataError(msg)
            self.floor.copy_(positive.min())
        return self

    def forward(self, values: Tensor) -> Tensor:
        """Return log10 of the floored values; any shape."""
        return torch.log10(torch.maximum(values, self.floor))


class SignedCbrt(Transform):
    r"""Cube root that keeps the sign, for times of either sign with long tails.

    .. math:: f(x) = \mathrm{sign}(x)\, |x|^{1/3}
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return the signed cube root; any shape."""
        return torch.sign(values) * values.abs().pow(1 / 3)


class Clip(Transform):
    """Limit values to [low, high], so that outliers cannot set the scale of a later Standardise."""

    low: Tensor
    high: Tensor

    def __init__(self, *, low: float, high: float) -> None:
        super().__init__()
        if not -float("inf") < low < high < float("inf"):
            msg = f"Clip: low {low} must be below high {high}, both finite"
            raise ConfigError(msg)
        self._limits = (low, high)
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    @property
    def config(self) -> dict[str, Any]:
        """The name and the two limits, in the unit of the column."""
        return {"name": "Clip", "low": self._limits[0], "high": self._limits[1]}

    def forward(self, values: Tensor) -> Tensor:
        """Return the values inside the limits; any shape."""
        return torch.clamp(values, self.low, self.high)


class Standardise(Transform):
    r"""Shift and scale to mean 0 and standard deviation 1 on the training sample.

    .. math:: f(x) = (x - \mu) / \sigma

    A column that is constant in the training sample keeps unit scale and becomes 0 there: it
    carries no information, and dividing by its rounding error would invent some.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(1.0, dtype=torch.float32))

    def fit(self, values: Tensor) -> Self:
        """Learn mean and standard deviation, accumulated in float64."""
        super().fit(values)
        column = values.to(torch.float64)
        mean, std = column.mean(), column.std(correction=0)
        constant = std <= _CONSTANT * column.abs().max()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, torch.ones_like(std), std))
        return self

    def forward(self, values: Tensor) -> Tensor:
        """Return the standardised values; any shape."""
        return (values - self.mean) / self.std


class Chain(Transform):
    """Several transforms, one after the other; each is fitted on the output of those before it.

    Args:
        steps: Transforms, or their configurations (`{"name": "Clip", "low": 0.0, "high": 1.0}`).
    """

    def __init__(self, steps: Sequence[Transform | Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            step if isinstance(step, Transform) else build(step) for step in steps
        )

    @property
    def config(self) -> dict[str, Any]:
        """The name and the configurations of the steps."""
        return {"name": "Chain", "steps": [step.config for step in self._transforms()]}

    def fit(self, values: Tensor) -> Self:
        """Fit every step on what the steps before it make of the training column."""
        super().fit(values)
        for step in self._transforms():
            values = step.fit(values)(values)
        return self

    def forward(self, values: Tensor) -> Tensor:
        """Return the values after all steps; any shape."""
        for step in self.steps:
            values = step(values)
        return values

    def _transforms(self) -> list[Transform]:
        return list(cast("Sequence[Transform]", self.steps))


def build(config: Mapping[str, Any]) -> Transform:
    """Return the transform that a configuration names; names come from `__all__` only.

    Args:
        config: `{"name": ..., **keywords}` as in `Transform.config`.

    Raises:
        ConfigError: if the name or a keyword is unknown, or a value is out of range.
    """
    name = str(config.get("name"))
    if name not in __all__:
        msg = f"unknown transform '{name}'. {suggestion(name, __all__)}"
        raise ConfigError(msg)
    constructor: type[Transform] = globals()[name]
    keywords = {key: value for key, value in config.items() if key != "name"}
    allowed = inspect.signature(constructor).parameters
    for key in keywords:
        if key not in allowed:
            msg = f"transform {name} has no keyword '{key}'. {suggestion(key, allowed)}"
            raise ConfigError(msg)
    return constructor(**keywords)


def _require_finite(values: Tensor, name: str) -> None:
    if values.numel() == 0:
        msg = f"{name}: cannot be fitted on an empty column"
        raise DataError(msg)
    bad = ~torch.isfinite(values.reshape(-1))
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        value = float(values.reshape(-1)[first])
        msg = f"{name}: {int(bad.sum())} training values are not finite, first {value} at {first}"
        raise DataError(msg)
