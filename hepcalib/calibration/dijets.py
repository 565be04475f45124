"""Two jets that balance: what each measurement says about the other one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Dijets", "correlated_dijets", "snapped_dijets"]

Floats: TypeAlias = NDArray[np.float64]


class Dijets(NamedTuple):
    """Estimates of the two jets [GeV] and their standard deviations [GeV]; (events,) each."""

    first: Floats
    second: Floats
    first_width: Floats
    second_width: Floats


def correlated_dijets(
    measured: tuple[ArrayLike, ArrayLike], widths: tuple[ArrayLike, ArrayLike], *, balance: float
) -> Dijets:
    r"""Combine two unbiased measurements whose truths differ by a normal number.

    .. math:: z_1' = \frac{z_1 (\Lambda^2 + s_2^2) + z_2 s_1^2}{\Lambda^2 + s_1^2 + s_2^2}, \quad
        s_1'^2 = s_1^2 \left[1 - \frac{s_1^2}{s_1^2 + s_2^2 + \Lambda^2}\right]

    and likewise for the second jet. Unbiased if the two are not ordered in transverse momentum.

    Reference: arXiv:2402.14067.

    Args:
        measured: Transverse momenta z of the two jets [GeV], (events,) each.
        widths: Their resolutions s [GeV], (events,) or one number each.
        balance: Standard deviation Lambda of the difference of the truths [GeV].

    Raises:
        ConfigError: if a width or the balance is not positive.
    """
    first, second, s1, s2 = _checked(measured, widths, balance)
    total = balance**2 + s1**2 + s2**2
    difference = second - first
    return Dijets(
        first + difference * s1**2 / total,
        second - difference * s2**2 / total,
        s1 * np.sqrt(1.0 - s1**2 / total),
        s2 * np.sqrt(1.0 - s2**2 / total),
    )


def snapped_dijets(
    measured: tuple[ArrayLike, ArrayLike], widths: tuple[ArrayLike, ArrayLike], *, balance: float
) -> tuple[Floats, Floats]:
    r"""Combine two measurements whose truths differ by an exponential number: the most likely pair.

    .. math:: z_i' = z_i \pm s_i^2 / \Lambda \quad
        \text{if } |z_1 - z_2| > (s_1^2 + s_2^2) / \Lambda

    towards each other; otherwise both become the mean weighted by the inverse variances.

    Args:
        measured: Transverse momenta z of the two jets [GeV], (events,) each.
        widths: Their resolutions s [GeV], (events,) or one number each.
        balance: Mean absolute difference Lambda of the truths [GeV].

    Returns:
        The estimates of the two jets [GeV], (events,) each.

    Raises:
        ConfigError: if a width or the balance is not positive.
    """
    first, second, s1, s2 = _checked(measured, widths, balance)
    apart = np.abs(first - second) > (s1**2 + s2**2) / balance
    towards = np.sign(second - first) / balance
    middle = (first * s2**2 + second * s1**2) / (s1**2 + s2**2)
    return (
        np.where(apart, first + towards * s1**2, middle),
        np.where(apart, second - towards * s2**2, middle),
    )


def _checked(
    measured: tuple[ArrayLike, ArrayLike], widths: tuple[ArrayLike, ArrayLike], balance: float
) -> tuple[Floats, Floats, Floats, Floats]:
    first, second, s1, s2 = (np.asarray(x, dtype=np.float64) for x in (*measured, *widths))
    smallest = min(float(np.min(s1, initial=np.inf)), float(np.min(s2, initial=np.inf)))
    if not (smallest > 0.0 and balance > 0.0):
        msg = f"dijets: smallest width {smallest}, balance {balance}; needed: positive, in GeV"
        raise ConfigError(msg)
    return first, second, s1, s2
