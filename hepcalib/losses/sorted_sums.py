r"""Sums over all pairs of entries, from sorting: time O(N log N), memory O(N), exact with ties.

A sum such as :math:`\sum_j v_j\,\mathrm{sgn}(x_k - x_j)` needs no pairs once the entries are
sorted. One with the signs of two variables is a sum over the entries smaller in both; it is found
by parting the entries, in the order of one variable, by their rank in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Ranking",
    "below_both",
    "mean_distance",
    "pick",
    "pulls",
    "ranking",
    "running_sum",
    "signed_sum",
    "tied_sum",
]

_LEAF = 16  # a power of 2: blocks of at most this many entries are compared pair by pair


class Ranking(NamedTuple):
    """The order of the entries by one variable."""

    order: Tensor  # (n,) entry numbers, ascending in the variable
    below: Tensor  # (n,) per entry: how many are smaller
    up_to: Tensor  # (n,) per entry: how many are smaller or equal


def ranking(x: Tensor, *, within: Tensor | None = None) -> Ranking:
    """Rank the entries of x; ties keep the order they have in `within`, a list of all entries."""
    if within is None:
        order = torch.argsort(x, stable=True)
    else:
        order = pick(within, torch.argsort(pick(x, within), stable=True))
    _, group, size = torch.unique_consecutive(
        pick(x, order), return_inverse=True, return_counts=True
    )
    end = size.cumsum(0)
    below = torch.empty_like(order).scatter_(0, order, pick(end - size, group))
    up_to = torch.empty_like(order).scatter_(0, order, pick(end, group))
    return Ranking(order, below, up_to)


def signed_sum(values: Tensor, by: Ranking) -> Tensor:
    r"""Return :math:`\sum_j v_j\,\mathrm{sgn}(x_k - x_j)` for every entry k, with sgn(0) = 0."""
    running = running_sum(pick(values, by.order))
    return pick(running, by.below) + pick(running, by.up_to) - running[-1]


def mean_distance(x: Tensor, weight: Tensor, by: Ranking) -> Tensor:
    r"""Return :math:`\sum_j w_j |x_k - x_j|` for every entry k."""
    return x * signed_sum(weight, by) - signed_sum(weight * x, by)


def pulls(
    x: Tensor, y: Tensor, weight: Tensor, *, by_x: Ranking, by_y: Ranking, both: bool
) -> tuple[Tensor, ...]:
    r"""Return the sums of the distances in one variable with the signs of the other.

    For every entry k: :math:`\sum_j w_j |y_k - y_j|\,\mathrm{sgn}(x_k - x_j)`, and, if `both`,
    the same with x and y exchanged. Ties in x have to be ranked in the order of y, and vice versa.
    """
    moments = (weight, weight * y, weight * x) if both else (weight, weight * y)
    signed = _concordance(torch.stack(moments), by_x.order, by_y.order)
    # Entries tied in x were given the sign of their y: take these distances out again.
    along_x = y * (signed[0] - tied_sum(weight, by_x)) - signed[1] + tied_sum(weight * y, by_x)
    if not both:
        return (along_x,)
    along_y = x * (signed[0] - tied_sum(weight, by_y)) - signed[2] + tied_sum(weight * x, by_y)
    return along_x, along_y


def below_both(values: Tensor, order_x: Tensor, order_y: Tensor) -> Tensor:
    """Sum, for every entry, the values of the entries that come earlier in both orders.

    The entries start in the order of y. Each pass parts every block of consecutive x ranks into
    its lower and its upper half; a lower one that stands before an upper one is earlier in both.
    All blocks are parted at once, and padded to be equally long.

    Shapes:
        values: (c, n); order_x, order_y: (n,) -> (c, n)
    """
    components, n = values.shape
    levels = 0
    while -(-n >> levels) > _LEAF:
        levels += 1
    leaf = -(-n >> levels)
    rank = torch.arange(leaf << levels, device=values.device)
    # the rank, written as (number of the smallest block, rank therein): its bits tell the halves
    key = torch.div(rank, leaf, rounding_mode="floor") * _LEAF + rank % leaf
    key_x = torch.empty_like(order_x)
    key_x[order_x] = key[:n]
    key[:n] = key_x[order_y]
    state = values.new_zeros(2, components, len(rank))  # the values, and the sums found so far
    state[0, :, :n] = pick(values, order_y)
    for level in reversed(range(levels)):
        key, state = _part(key, state, bit=_LEAF << level, half=leaf << level)
    key, state = key.view(-1, leaf), state.view(2, components, -1, leaf)
    _compare(key, state)
    sums = torch.empty_like(state[1])
    sums.scatter_(2, (key % _LEAF).expand_as(sums), state[1])
    found = sums.flatten(1)[:, :n]
    return torch.empty_like(found).scatter_(1, order_x.expand_as(found), found)


def _part(key: Tensor, state: Tensor, *, bit: int, half: int) -> tuple[Tensor, Tensor]:
    """Move each block's lower half first, and add to the upper entries the lower ones before."""
    is_upper = (key & bit) != 0
    lower = (~is_upper).nonzero().view(-1, half)
    upper = is_upper.nonzero().view(-1, half)
    order = torch.cat((lower, upper), dim=1).flatten()
    state = pick(state, order)
    halves = state.view(2, state.shape[1], -1, 2, half)
    running = running_sum(halves[0, :, :, 0])
    # As many lower entries stand before an upper one as its position less the upper ones before;
    # the running sum of each block is longer than the block's lower half by its leading zero.
    lower_before = upper - torch.arange(upper.numel(), device=key.device).view(-1, half)
    lower_before += torch.arange(len(upper), device=key.device)[:, None]
    before = pick(running.flatten(1), lower_before.flatten())
    halves[1, :, :, 1] += before.view(-1, *upper.shape)
    return pick(key, order), state


def _compare(key: Tensor, state: Tensor) -> None:
    """Add to the sums, within each smallest block, the values that stand earlier and rank lower."""
    values, sums = state
    for step in range(1, key.shape[-1]):
        is_lower = key[:, :-step] < key[:, step:]
        sums[:, :, step:] += values[:, :, :-step] * is_lower


def _concordance(values: Tensor, order_x: Tensor, order_y: Tensor) -> Tensor:
    """Sum the values with both signs, +1 or -1 by the position in the two orders, ties included."""
    both = below_both(values, order_x, order_y)
    below = _sum_before(values, order_x) + _sum_before(values, order_y)
    # of the other entries: smaller in both + larger in both - smaller in exactly one
    return 4 * both - 2 * below + values.sum(1, keepdim=True) - values


def _sum_before(values: Tensor, order: Tensor) -> Tensor:
    """Sum, for every entry, the values of the entries that come earlier in the order."""
    before = running_sum(pick(values, order))[:, :-1]
    return torch.empty_like(values).scatter_(1, order.expand_as(values), before)


def tied_sum(values: Tensor, by: Ranking) -> Tensor:
    """Sum, for every entry, the values of all entries tied with it, itself included."""
    # the number of smaller entries names the group
    return pick(torch.zeros_like(values).index_add_(0, by.below, values), by.below)


def pick(values: Tensor, entries: Tensor) -> Tensor:
    """Return the entries of every row; on a CPU several times faster than indexing."""
    if values.ndim == 1:
        return values.index_select(0, entries)
    return values.gather(-1, entries.expand(*values.shape[:-1], -1))


def running_sum(values: Tensor) -> Tensor:
    """Return the sums of the first 0, 1, ..., n values along the last dimension."""
    running = values.new_empty(*values.shape[:-1], values.shape[-1] + 1)
    running[..., 0] = 0
    torch.cumsum(values, -1, out=running[..., 1:])
    return running
