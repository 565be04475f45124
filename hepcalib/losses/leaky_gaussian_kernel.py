"""The leaky Gaussian kernel: a loss whose minimum is the mode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["leaky_gaussian_kernel"]


def leaky_gaussian_kernel(residual: Tensor, *, h: float, alpha: float = 0.0) -> Tensor:
    r"""Loss of each residual; minus its mean is the density of the target, smeared by h.

    .. math:: -\frac{1}{h \sqrt{2 \pi}} e^{-u^2 / 2 h^2} + \alpha |u|

    Without the leak alpha a residual of many h has no gradient; with it the minimum moves from the
    mode towards the median. Reference: ATL-PHYS-PUB-2018-013, arXiv:1910.03773.

    Args:
        residual: u, such as predicted / true response - 1.
        h: Width of the kernel, in the unit of u.
        alpha: Slope of the leak, at least 0.

    Shapes:
        residual: (...) -> (...)

    Raises:
        ConfigError: if h is not positive or alpha is negative.
    """
    if not (0.0 < h < math.inf and 0.0 <= alpha < math.inf):
        msg = f"leaky_gaussian_kernel: h is {h}, alpha is {alpha}; needed: h > 0, alpha >= 0"
        raise ConfigError(msg)
    kernel = (-0.5 * (residual / h).square()).exp() / (h * math.sqrt(2 * math.pi))
    return alpha * residual.abs() - kernel
