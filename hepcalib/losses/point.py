"""A value with a loss in the place of a density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.distributions import Distribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Size, Tensor

__all__ = ["Point"]


class Point(Distribution):
    r"""All probability at one value, judged by a loss instead of a density.

    .. math:: \ln p(y) \equiv -l(v, y)

    so that what maximises the likelihood of distributions minimises the loss of points. Mean,
    mode and each draw are the value, the variance is zero.

    Args:
        value: The value v.
        loss: Takes v and the target y, returns the loss of each of them.

    Shapes:
        value: (...) -> batch shape (...)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, value: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.value, self.loss = value, loss
        super().__init__(value.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The value."""
        return self.value

    @property
    def mode(self) -> Tensor:
        """The value."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the loss of targets, which broadcast with the batch shape."""
        return -self.loss(self.value, value)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return the value as often as asked for."""
        return self.value.expand(*sample_shape, *self.value.shape)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> Point:
        """Return the distribution with a larger batch shape."""
        return Point(self.value.expand(*batch_shape), self.loss)
