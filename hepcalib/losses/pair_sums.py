r"""The sums over pairs of entries that the distance correlation and its gradient are made of.

One nuisance: by sorting, in time O(n log n). Several: in blocks of rows, in time O(n^2). The
distance between two entries is Euclidean, and the memory is O(n) in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from hepcalib.losses.sorted_sums import mean_distance, pulls, ranking, signed_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from hepcalib.losses.sorted_sums import Ranking

__all__ = ["PairSums", "pair_sums"]

_PAIRS = 1 << 20  # pairs held at once: 8 MiB for every float64 of them


class PairSums(NamedTuple):
    r"""Sums of pairs (k, j) over j, or over both, with the weights w_j.

    A pull is what moving entry k does to a sum over its distances less c_k + c_j:
    :math:`\sum_j w_j (|y_k - y_j| - c_k - c_j) (x_k - x_j) / |x_k - x_j|` for x.
    """

    x_distance: Tensor  # (n,) sum_j w_j |x_k - x_j|
    y_distance: Tensor  # (n,) sum_j w_j |y_k - y_j|
    product: Tensor  # scalar, sum_kj w_k w_j |x_k - x_j| |y_k - y_j|
    x_pull: Callable[[Tensor], Tensor]  # c (n,) -> (n,)
    y_pull: Callable[[Tensor], Tensor]  # c (n,) -> (n, variables)


def pair_sums(x: Tensor, y: Tensor, weight: Tensor, *, y_pull: bool) -> PairSums:
    """Sum over all pairs.

    Args:
        x: The first variable.
        y: The second variable, or variables.
        weight: Weights of the entries.
        y_pull: Whether `y_pull` will be asked for.

    Shapes:
        x, weight: (n,); y: (n, variables)
    """
    if y.shape[1] == 1:
        return _line_sums(x, y[:, 0], weight, both=y_pull)
    return _space_sums(x, y, weight)


def _line_sums(x: Tensor, y: Tensor, w: Tensor, *, both: bool) -> PairSums:
    by_x = ranking(x, within=ranking(y).order)
    by_y = ranking(y, within=by_x.order)
    along = pulls(x, y, w, by_x=by_x, by_y=by_y, both=both)
    return PairSums(
        x_distance=mean_distance(x, w, by_x),
        y_distance=mean_distance(y, w, by_y),
        product=2 * (w * x * along[0]).sum(),
        x_pull=lambda terms: along[0] - _sum_of_terms(terms, w, by_x),
        y_pull=lambda terms: (along[1] - _sum_of_terms(terms, w, by_y))[:, None],
    )


def _space_sums(x: Tensor, y: Tensor, w: Tensor) -> PairSums:
    by_x = ranking(x)
    y_distance, along_x = torch.empty_like(x), torch.empty_like(x)
    for rows in _blocks(len(x)):
        distance = _distance(y[rows], y)
        y_distance[rows] = distance @ w
        along_x[rows] = distance.mul_(torch.sign(x[rows, None] - x)) @ w
    return PairSums(
        x_distance=mean_distance(x, w, by_x),
        y_distance=y_distance,
        product=2 * (w * x * along_x).sum(),
        x_pull=lambda terms: along_x - _sum_of_terms(terms, w, by_x),
        y_pull=lambda terms: _space_pull(x, y, w, terms),
    )


def _sum_of_terms(terms: Tensor, w: Tensor, by: Ranking) -> Tensor:
    """Return sum_j w_j (c_k + c_j) sgn(x_k - x_j)."""
    return terms * signed_sum(w, by) + signed_sum(w * terms, by)


def _space_pull(x: Tensor, y: Tensor, w: Tensor, terms: Tensor) -> Tensor:
    pull = torch.empty_like(y)
    for rows in _blocks(len(x)):
        distance = _distance(y[rows], y)
        factor = (x[rows, None] - x).abs_().sub_(terms[rows, None]).sub_(terms)
        factor.mul_(w).div_(distance).masked_fill_(distance == 0, 0.0)
        for column in range(y.shape[1]):  # differences first: close points would cancel
            difference = y[rows, column, None] - y[:, column]
            pull[rows, column] = difference.mul_(factor).sum(1)
    return pull


def _distance(y: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(y, others, compute_mode="donot_use_mm_for_euclid_dist")


def _blocks(n: int) -> Iterator[slice]:
    rows = max(1, _PAIRS // n)
    return (slice(start, start + rows) for start in range(0, n, rows))
