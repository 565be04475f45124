"""Divergence of the binned nuisance of what passes from that of what fails, as a penalty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError, DataError, suggestion
from hepcalib.losses.checks import check_input, columns_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KINDS", "binned_divergence"]

KINDS = ("jensen_shannon", "kullback_leibler")


def binned_divergence(
    score: Tensor,
    nuisance: Tensor,
    *,
    weight: Tensor | None = None,
    kind: str = "jensen_shannon",
    bins: int = 25,
    bounds: tuple[float, float] | None = None,
    efficiency: float | None = None,
    temperature: float = 0.05,
) -> Tensor:
    r"""Divergence [bits] of the nuisance of jets that pass from that of jets that fail.

    .. math::
        P_b \propto \sum_{i \in b} w_i p_i,\quad F_b \propto \sum_{i \in b} w_i (1 - p_i),\quad
        JSD = \tfrac12 KL(P \| Q) + \tfrac12 KL(F \| Q),\ Q = \tfrac{P + F}{2}

    A jet passes with probability p: its score or, with an `efficiency`,
    :math:`1 / (1 + e^{-(s - c) / T})`, where c is the cut that this share of all weight exceeds.
    `kullback_leibler` is KL(P || I) with the nuisance I of all jets. The expectation for an
    independent pair is 0 up to the fluctuation of the bins, at most (B - 1) / (8 ln 2)
    (1 / n_pass + 1 / n_fail) for JSD. Differentiable in the score; computed in float64.

    Reference: arXiv:2001.05310 (JSD as figure of merit).

    Args:
        score: Tagger output in [0, 1].
        nuisance: Protected variable, for example the jet mass [GeV]; a constant to the gradient.
            Several variables: the mean of their divergences.
        weight: Event weights of any scale, not negative; constants to the gradient.
        kind: "jensen_shannon" (between 0 and 1 bit) or "kullback_leibler".
        bins: Number of bins of equal width.
        bounds: Ends of the bins, for one nuisance; by default the range of the entries of positive
            weight. Entries outside are in no bin.
        efficiency: Share of the weight that passes; None for the score as probability.
        temperature: Width T of the soft cut at that efficiency, in units of the score.

    Shapes:
        score: (n,); nuisance: (n,) or (n, variables); weight: (n,) -> scalar

    Returns:
        The divergence in the dtype of score; 0 where nothing passes or nothing fails.

    Raises:
        ConfigError: if an option is out of range.
        ShapeError: if the lengths differ or a shape is wrong.
        DataError: if a value is not finite, a score outside [0, 1] or a weight negative.
    """
    check_input("binned_divergence", score, nuisance, weight)
    columns = columns_of(nuisance.detach()).double()
    _check(
        score.detach(),
        kind=kind,
        bins=bins,
        bounds=bounds,
        efficiency=efficiency,
        temperature=temperature,
        variables=columns.shape[1],
    )
    w = (torch.ones_like(score) if weight is None else weight).detach().double()
    kept = w > 0
    columns, w, chosen = columns[kept], w[kept], score[kept].double()
    if efficiency is not None and len(w):
        cut = _cut(chosen.detach(), w, efficiency)
        chosen = torch.sigmoid((chosen - cut) / temperature)
    values = []
    for column in columns.T:
        number, inside = _binned(column, bins, bounds)
        parts = [
            chosen.new_zeros(bins).index_add(0, number[inside], part[inside])
            for part in (w * chosen, w * (1.0 - chosen))
        ]
        values.append(_divergence(*parts, kind=kind))
    value = torch.stack(values).mean()
    return value.to(score.dtype if score.is_floating_point() else torch.float64)


def _check(
    score: Tensor,
    *,
    kind: str,
    bins: int,
    bounds: tuple[float, float] | None,
    efficiency: float | None,
    temperature: float,
    variables: int,
) -> None:
    if kind not in KINDS:
        msg = f"binned_divergence: unknown kind '{kind}'. {suggestion(kind, KINDS)}"
        raise ConfigError(msg)
    if bounds is not None and (variables != 1 or not bounds[0] < bounds[1]):
        msg = f"binned_divergence: bounds {bounds} for {variables} nuisances; needed: low < high, 1"
        raise ConfigError(msg)
    possible = efficiency is None or 0.0 < efficiency < 1.0
    if bins < 2 or not possible or not 0.0 < temperature < math.inf:
        msg = (
            f"binned_divergence: bins {bins}, efficiency {efficiency}, temperature {temperature}; "
            "needed: at least 2, inside (0, 1), positive"
        )
        raise ConfigError(msg)
    outside = (score < 0) | (score > 1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        msg = (
            f"binned_divergence: score {float(score[first])} at index {first} is outside [0, 1]; "
            f"{int(outside.sum())} of {len(score)} are"
        )
        raise DataError(msg)


def _cut(score: Tensor, weight: Tensor, efficiency: float) -> Tensor:
    ordered, order = score.sort(descending=True)
    passed = weight[order].cumsum(0)
    place = torch.searchsorted(passed, efficiency * passed[-1]).clamp(max=len(score) - 1)
    return ordered[place]


def _binned(column: Tensor, bins: int, bounds: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """Return the bin of each entry, and which are in one."""
    if not len(column):
        return column.long(), column.bool()
    low, high = (float(column.min()), float(column.max())) if bounds is None else bounds
    width = max((high - low) / bins, math.ulp(1.0))
    inside = (column >= low) & (column <= high)
    return ((column - low) / width).long().clamp(0, bins - 1), inside


def _divergence(passed: Tensor, failed: Tensor, *, kind: str) -> Tensor:
    if not (float(passed.detach().sum()) > 0.0 and float(failed.detach().sum()) > 0.0):
        return (passed + failed).sum() * 0.0
    everything = passed + failed
    p, f = passed / passed.sum(), failed / failed.sum()
    if kind == "kullback_leibler":
        return _relative(p, everything / everything.sum())
    middle = 0.5 * (p + f)
    return 0.5 * (_relative(p, middle) + _relative(f, middle))


def _relative(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) [bits]; a bin without entries in p counts 0."""
    filled = p > 0
    ratio = torch.where(filled, p, 1.0) / torch.where(filled, q, 1.0)
    return (p * ratio.log2()).sum()
