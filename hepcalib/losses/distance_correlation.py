"""Distance correlation as a penalty: exact, weighted, and fast enough for full samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses.abcd_closure import abcd_closure
from hepcalib.losses.checks import check_input
from hepcalib.losses.pair_sums import pair_sums

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["distance_correlation"]

_ROUNDING = 1e-12  # a distance variance below this fraction of 2 Var counts as zero


def distance_correlation(
    score: Tensor,
    nuisance: Tensor,
    *,
    weight: Tensor | None = None,
    unbiased: bool = False,
    tail: float = 0.0,
) -> Tensor:
    r"""Squared distance correlation; in the limit of many entries 0 for independent pairs only.

    .. math::
        dCorr^2 = \frac{dCov^2(s, m)}{\sqrt{dCov^2(s, s)\, dCov^2(m, m)}},\quad
        dCov^2 = \langle|s-s'||m-m'|\rangle + \langle|s-s'|\rangle\langle|m-m'|\rangle
        - 2\langle|s-s'||m-m''|\rangle

    The averages run over all pairs (V-statistic): the value lies in [0, 1] and is about 3/n for
    an independent pair. With `unbiased` the distances are centred without their diagonal
    (U-statistic): the mean for an independent pair is 0, single values may be negative. With
    weights this centring removes from the distances of distinct entries what has the form
    a_i + a_j, orthogonally in :math:`\sum_{i\neq j} w_i w_j A_{ij} B_{ij}`. Equal weights give the
    usual U-centring, and the mean of dCov^2 stays 0 for an independent pair of which at most one
    variable has to do with the weights.

    Time O(n log n) and memory O(n) for one nuisance. Several are taken together, with the Euclidean
    distance, in time O(n^2) and memory O(n). Both compute in float64, with the gradient in closed
    form (sgn(0) = 0 at ties), which cannot be differentiated again.

    No root of dCov^2 is taken: its gradient would diverge at independence. A small value is no
    certificate of a flat background efficiency: jets of high score are too few to matter. `tail`
    adds that many times `abcd_closure`, in which they do.

    Reference: DisCo, arXiv:2001.05310; distance covariance arXiv:0803.4101, U-centring
    arXiv:1310.2926.

    Args:
        score: Tagger output.
        nuisance: Protected variable, for example the jet mass [GeV]. Neither shift nor scale of
            score or nuisance matters.
        weight: Event weights of any scale, not negative; constants to the gradient. In the
            V-statistic, integers mean replication.
        unbiased: Whether to use the U-statistic.
        tail: Factor of the tail term, at random cuts of torch's generator; 0 for none.

    Shapes:
        score: (n,); nuisance: (n,) or (n, variables); weight: (n,) -> scalar

    Returns:
        The squared distance correlation, plus the tail term, in the dtype of score. Where it is not
        defined it is 0 with gradient 0: fewer than two (U-statistic: four) entries of positive
        weight, or a constant score or nuisance (U-statistic: constant but for one entry).

    Raises:
        ConfigError: if tail is negative or not finite.
        ShapeError: if the lengths differ or a shape is wrong.
        DataError: if a value is not finite, a weight is negative, or, in the U-statistic, one entry
            has half of all weight or more.
    """
    if not 0.0 <= tail < math.inf:
        msg = f"distance_correlation: tail is {tail}; needed: at least 0 and finite"
        raise ConfigError(msg)
    check_input("distance_correlation", score, nuisance, weight)
    value: Tensor = _DistanceCorrelation.apply(  # type: ignore[no-untyped-call]  # torch does not annotate it
        score, nuisance, weight, unbiased
    )
    return value + tail * abcd_closure(score, nuisance, weight=weight) if tail else value


class _DistanceCorrelation(torch.autograd.Function):
    """The value in the forward pass, with the gradients computed beside it."""

    @staticmethod
    def forward(
        ctx: Any, score: Tensor, nuisance: Tensor, weight: Tensor | None, unbiased: bool
    ) -> Tensor:
        """Return the squared distance correlation, and keep its gradients."""
        wanted = ctx.needs_input_grad[:2]
        result = _evaluate(score, nuisance, weight, unbiased=unbiased, wanted=wanted)
        ctx.save_for_backward(result.score_gradient, result.nuisance_gradient)
        return result.value.to(score.dtype if score.is_floating_point() else torch.float64)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Scale the gradients."""
        score, nuisance = (None if g is None else upstream * g for g in ctx.saved_tensors)
        return score, nuisance, None, None


class _Result(NamedTuple):
    value: Tensor
    score_gradient: Tensor | None
    nuisance_gradient: Tensor | None


class _Centring(NamedTuple):
    """What centring takes from the distances |x_k - x_j| of a variable: c_k + c_j."""

    terms: Tensor  # (n,) c_k
    variance: Tensor  # scalar, the distance variance; exactly 0 if it is only rounding


def _evaluate(
    score: Tensor,
    nuisance: Tensor,
    weight: Tensor | None,
    *,
    unbiased: bool,
    wanted: tuple[bool, bool],
) -> _Result:
    """Compute the value and the wanted gradients in float64, 0 where there is no correlation."""
    result = None
    w = _normalised(torch.ones_like(score) if weight is None else weight, unbiased=unbiased)
    if w is not None:
        x, x_scale = _standardised(score[:, None].double(), w)
        y, y_scale = _standardised(nuisance.reshape(len(nuisance), -1).double(), w)
        if x_scale > 0 and y_scale > 0:
            result = _correlate(x, y, w, unbiased=unbiased, wanted=wanted)
    if result is None:
        return _Result(
            score.new_zeros(()),
            torch.zeros_like(score) if wanted[0] else None,
            torch.zeros_like(nuisance) if wanted[1] else None,
        )
    value, along_x, along_y = result
    return _Result(
        value,
        None if along_x is None else along_x / x_scale,
        None if along_y is None else (along_y / y_scale).view(nuisance.shape),
    )


def _normalised(weight: Tensor, *, unbiased: bool) -> Tensor | None:
    """Scale the weights to a sum of 1; None if too few of them are positive."""
    weight = weight.double()
    if int((weight > 0).sum()) < (4 if unbiased else 2):
        return None
    weight = weight / weight.max()
    weight = weight / weight.sum()
    if unbiased and weight.max() >= 0.5:
        msg = (
            f"distance_correlation: entry {int(weight.argmax())} has {float(weight.max()):.1%} of "
            "the total weight. The unbiased form needs less than half in every entry; "
            "use unbiased=False or more entries."
        )
        raise DataError(msg)
    return weight


def _standardised(values: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (n, d) values, in units of the mean distance from the centre: exactly 0 if equal."""
    values = values - values[w.argmax()]
    values -= w @ values
    scale = w @ torch.linalg.vector_norm(values, dim=1)
    return values / scale, scale


def _correlate(
    x: Tensor, y: Tensor, w: Tensor, *, unbiased: bool, wanted: tuple[bool, bool]
) -> _Result | None:
    """Correlate two standardised variables, (n, 1) and (n, d); None if one has no variance."""
    sums = pair_sums(x[:, 0], y, w, y_pull=wanted[1])
    a = _centring(x, sums.x_distance, w, unbiased=unbiased)
    b = _centring(y, sums.y_distance, w, unbiased=unbiased)
    if a.variance == 0 or b.variance == 0:
        return None
    covariance = sums.product - 2 * (w * a.terms * sums.y_distance).sum()
    root = torch.sqrt(a.variance * b.variance)
    along_x = along_y = None
    if wanted[0]:
        slope = covariance / a.variance
        pull = sums.x_pull(b.terms - slope * a.terms) - slope * x[:, 0]
        along_x = 2 * w * pull / root
    if wanted[1]:
        slope = covariance / b.variance
        pull = sums.y_pull(a.terms - slope * b.terms) - slope * y
        along_y = 2 * w[:, None] * pull / root
    return _Result(covariance / root, along_x, along_y)


def _centring(values: Tensor, distance: Tensor, w: Tensor, *, unbiased: bool) -> _Centring:
    """Centre the distances of standardised (n, d) values, with or without the diagonal."""
    inflation = 1 / (1 - 2 * w) if unbiased else torch.ones_like(w)
    share = w * inflation
    terms = inflation * (distance - (share * distance).sum() / (1 + share.sum()))
    spread = 2 * (w[:, None] * values.square()).sum()
    variance = spread - 2 * (w * terms * distance).sum()
    return _Centring(terms, variance * (variance > _ROUNDING * spread))
