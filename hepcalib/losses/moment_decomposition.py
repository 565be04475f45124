"""Moment decomposition (MoDe): the efficiency may depend on the nuisance, up to a given order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses.checks import check_input
from hepcalib.losses.sorted_sums import Ranking, pick, ranking, running_sum, tied_sum

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["moment_decomposition"]

_ROUNDING = 1e-9  # of a bin: entries this close to an edge belong above it


class _Shape(NamedTuple):
    """How the distribution function of the score may depend on the nuisance."""

    order: int
    max_slope: float | None
    monotonic: bool


def moment_decomposition(
    score: Tensor,
    nuisance: Tensor,
    *,
    order: int = 0,
    weight: Tensor | None = None,
    bins: int = 32,
    max_slope: float | None = None,
    monotonic: bool = False,
    bounds: tuple[float, float] | None = None,
    unbiased: bool = False,
) -> Tensor:
    r"""Distance of the score's distribution function from a polynomial in the nuisance.

    .. math::
        MoDe[n] = \int_0^1 ds \Big\langle \Big(F_m(s) - \sum_{l\le n} c_l(s) P_l(m)\Big)^2
        \Big\rangle_m, \quad c_l(s) = \tfrac{2l+1}{2} \int_{-1}^1 F_m(s) P_l(m)\, dm

    F_m(s) = P(score <= s | m) is 1 - efficiency of a cut at s, in bins of m of equal occupancy,
    over which < >_m averages; m is the nuisance scaled to [-1, 1], whose range the c_l weigh
    evenly whatever its density. The Legendre polynomials P_l are averaged over each bin, so that
    a polynomial F costs nothing. Order 0 asks for a flat efficiency; orders 1 and 2 leave a linear
    and a quadratic one alone. `max_slope` M replaces c_1 by M c_0 tanh(c_1 / (M c_0)): for M < 1
    no efficiency is driven to 0. `monotonic` replaces c_2 by (c_1 / 3) tanh(3 c_2 / c_1): the
    parabola has no extremum in [-1, 1].

    The integral over s is exact, linear in each score until it meets another one. Time O(n log n),
    memory O(n), in float64. Independent uniform score and nuisance give (bins - 1) / (6 n) at
    order 0; bins of finite width lower the penalty of a score fixed by m by 1 / (6 bins).

    This floor is proportional to the spread of the scores, so that descent presses them together,
    until nothing but rounding tells them apart. `unbiased` subtracts it, with the variance of F_m
    of each bin and its share in the residual: F (1 - F) q / (1 - q), q = sum w^2 / (sum w)^2. The
    mean for an independent pair is then 0, and single values may be negative. The limits of the
    shape, where they act, are left out of that share; a bin of one entry subtracts nothing.

    Reference: MoDe, arXiv:2010.09745.

    Args:
        score: Tagger output in [0, 1]. Tied scores share the gradient of moving them together.
        nuisance: Protected variable, for example the jet mass [GeV]; a constant to the gradient.
            Equal values share a bin. Several variables: the mean of their penalties.
        order: Highest power that costs nothing: 0, 1 or 2.
        weight: Event weights of any scale, not negative; constants to the gradient.
        bins: Number of bins of the nuisance.
        max_slope: Largest slope relative to the mean, for order 1 and 2.
        monotonic: Whether the parabola of order 2 must be monotonic.
        bounds: The nuisance values that become -1 and 1, for one nuisance; by default its range
            in this sample.
        unbiased: Whether to subtract what the fluctuation of F_m adds.

    Shapes:
        score: (n,); nuisance: (n,) or (n, variables); weight: (n,) -> scalar

    Returns:
        The penalty in the dtype of score; 0 for a constant score or a constant nuisance.

    Raises:
        ConfigError: if an option is out of range or without effect.
        ShapeError: if the lengths differ or a shape is wrong.
        DataError: if a value is not finite, a score is outside [0, 1], the nuisance outside its
            bounds, a weight negative, or there are fewer entries of positive weight than bins.
    """
    check_input("moment_decomposition", score, nuisance, weight)
    shape = _Shape(order, max_slope, monotonic)
    variables = 1 if nuisance.ndim == 1 else nuisance.shape[1]
    _check_options(shape, bins, bounds, variables)
    w = (torch.ones_like(score) if weight is None else weight).double()
    kept = (w > 0).nonzero()[:, 0]
    x, w = score.index_select(0, kept).double(), w.index_select(0, kept)
    y = nuisance.detach().reshape(-1, variables).index_select(0, kept).double()
    _check_values(x.detach(), y, bins, bounds)
    w = w / w.max()
    w = w / w.sum()
    by_score = ranking(x.detach())
    share = w / tied_sum(w, by_score)
    values = []
    for column in y.T:
        residual = _residual(
            by_score, _binned(column, w, bins, bounds), w, shape, unbiased=unbiased
        )
        # the integral is the sum over the steps of F, at the scores, of the residual's decrease
        decrease = residual[by_score.below] - residual[by_score.up_to]
        values.append((x * share * decrease).sum())
    value = torch.stack(values).mean()
    return value.to(score.dtype if score.is_floating_point() else torch.float64)


class _Binned(NamedTuple):
    """A nuisance in bins of equal occupancy; bins without entries are left out."""

    number: Tensor  # (n,) bin of each entry
    share: Tensor  # (bins,) part of all weight
    edges: Tensor  # (bins + 1,) from -1 to 1


def _binned(values: Tensor, w: Tensor, bins: int, bounds: tuple[float, float] | None) -> _Binned:
    low, high = (values.min(), values.max()) if bounds is None else bounds
    by = ranking(values)
    running = running_sum(pick(w, by.order))
    quantile = (running[by.below] + running[by.up_to]) / 2  # of the middle of tied entries
    number = (bins * quantile + _ROUNDING).long().clamp(max=bins - 1)
    occupied, number = torch.unique(number, return_inverse=True)
    share = w.new_zeros(len(occupied)).index_add_(0, number, w)
    ordered = pick(values, by.order)
    last = pick(number, by.order).diff().nonzero()[:, 0]
    inner = 2 * ((ordered[last] + ordered[last + 1]) / 2 - low) / (high - low) - 1
    end = inner.new_ones(1)
    return _Binned(number, share, torch.cat((-end, inner, end)))


def _residual(
    by_score: Ranking, binned: _Binned, w: Tensor, shape: _Shape, *, unbiased: bool
) -> Tensor:
    """Return the mean squared residual of F_m after the 0, 1, ..., n lowest scores."""
    polynomial, projection = _legendre(binned.edges, shape.order)
    bin_of, weight = pick(binned.number, by_score.order), pick(w, by_score.order)
    step = weight / pick(binned.share, bin_of)  # of F in its bin
    by_bin = torch.argsort(bin_of, stable=True)
    level = torch.empty_like(step)  # of F after the step; in every bin it rises by 1
    level[by_bin] = pick(step, by_bin).cumsum(0) - pick(bin_of, by_bin)
    square = running_sum(weight * (2 * level - step))  # <F^2>
    if unbiased:
        noise = pick(_noise(binned, w, polynomial, projection), bin_of)
        square -= running_sum(noise * step * (1 - (2 * level - step)))  # of F (1 - F)
    product = running_sum(weight * pick(polynomial, bin_of))  # <F P_l>
    moments = _limited(running_sum(step * pick(projection, bin_of)), shape)  # c_l
    overlap = (polynomial * binned.share) @ polynomial.T  # <P_l P_k>
    return square + (moments * (overlap @ moments - 2 * product)).sum(0)


def _noise(binned: _Binned, w: Tensor, polynomial: Tensor, projection: Tensor) -> Tensor:
    """Return what F (1 - F) of each bin adds to the mean squared residual by fluctuation."""
    share = binned.share
    spread = torch.zeros_like(share).index_add_(0, binned.number, w.square()) / share.square()
    left = polynomial.T @ projection  # the polynomial closest to F, per bin, from F in each bin
    kept = share - 2 * share * left.diagonal() + share @ left.square()
    known = 1 - spread > _ROUNDING
    return torch.where(known, kept * spread / torch.where(known, 1 - spread, 1.0), 0.0)


def _legendre(edges: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Return P_l averaged over the bins, and the matrix from F to its moments c_l.

    The moments are those of the profile closest to F, over the range and not over the entries,
    which has the shape of the averaged polynomials: the Legendre moments, for narrow bins.

    Shapes:
        edges: (bins + 1,) -> (order + 1, bins), (order + 1, bins)
    """
    low, high = edges[:-1], edges[1:]
    parabola = (low.square() + low * high + high.square() - 1) / 2
    polynomial = torch.stack((torch.ones_like(low), (low + high) / 2, parabola))[: order + 1]
    integral = polynomial * (high - low)
    return polynomial, torch.linalg.pinv(integral @ polynomial.T, hermitian=True) @ integral


def _limited(moments: Tensor, shape: _Shape) -> Tensor:
    """Limit the moments c_l to the allowed shape."""
    moments = moments.clone()
    if shape.max_slope is not None:
        moments[1] = _saturated(moments[1], shape.max_slope * moments[0])
    if shape.monotonic:
        moments[2] = _saturated(moments[2], moments[1] / 3)
    return moments


def _saturated(value: Tensor, limit: Tensor) -> Tensor:
    """Return limit * tanh(value / limit), 0 where the limit is 0."""
    ratio = value / torch.where(limit == 0, 1.0, limit)
    return limit * torch.tanh(ratio)


def _check_options(
    shape: _Shape, bins: int, bounds: tuple[float, float] | None, variables: int
) -> None:
    order, max_slope, monotonic = shape
    problem = ""
    if order not in {0, 1, 2}:
        problem = f"order is {order}; it must be 0, 1 or 2"
    elif bins < order + 2:
        problem = f"bins is {bins}; order {order} needs at least {order + 2}"
    elif max_slope is not None and not (order > 0 and 0 < max_slope < math.inf):
        problem = (
            f"max_slope is {max_slope} at order {order}; it is a positive number for orders 1, 2"
        )
    elif monotonic and order != 2:
        problem = f"monotonic at order {order} has no effect; it is for order 2"
    elif bounds is not None and variables != 1:
        problem = f"bounds for {variables} nuisances; they are for one"
    elif bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
        problem = f"bounds are {bounds}; they must be finite and ascend"
    if problem:
        msg = f"moment_decomposition: {problem}."
        raise ConfigError(msg)


def _check_values(
    score: Tensor, nuisance: Tensor, bins: int, bounds: tuple[float, float] | None
) -> None:
    problem = ""
    if len(score) < bins:
        problem = (
            f"{len(score)} entries of positive weight for {bins} bins of the nuisance; "
            "use larger batches or fewer bins"
        )
    elif score.min() < 0 or score.max() > 1:
        problem = (
            f"score reaches from {float(score.min())} to {float(score.max())}; "
            "it must be in [0, 1], as after a sigmoid"
        )
    elif bounds is not None and (nuisance.min() < bounds[0] or nuisance.max() > bounds[1]):
        problem = (
            f"nuisance reaches from {float(nuisance.min())} to {float(nuisance.max())}; "
            f"the bounds are {bounds}"
        )
    if problem:
        msg = f"moment_decomposition: {problem}."
        raise DataError(msg)
