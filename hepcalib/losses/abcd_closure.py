"""Closure of the ABCD estimate as a penalty: independence where the background is estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError
from hepcalib.losses.checks import check_input, columns_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["abcd_closure"]

_STEEPNESS = 100.0  # of the soft cuts, in units of the range of score and nuisance


def abcd_closure(
    score: Tensor,
    nuisance: Tensor,
    *,
    weight: Tensor | None = None,
    cuts: int = 16,
    percentiles: tuple[float, float] = (1.0, 99.0),
) -> Tensor:
    r"""Mean relative non-closure of background estimates at random cuts on score and nuisance.

    .. math::
        \Big\langle \frac{|N_A N_D - N_B N_C|}{N_A N_D + N_B N_C} \Big\rangle_{cuts}, \quad
        N_A = \sum_i w_i\, \sigma(100(s_i - c_s))\, \sigma(100(m_i - c_m)), \ldots

    Score and nuisance are scaled to [0, 1]. The cuts are drawn from torch's generator, uniformly
    between two percentiles of the entries of positive weight: unlike a correlation over all jets,
    the tails of the score count as much as its bulk. 0 for an independent pair up to statistical
    fluctuation. Differentiable in the score; computed in float64, in time and memory O(n cuts).

    Reference: arXiv:2506.08826.

    Args:
        score: Tagger output.
        nuisance: Protected variable; a constant to the gradient. Several variables: the mean.
        weight: Event weights of any scale, not negative; constants to the gradient.
        cuts: Number of pairs of cuts.
        percentiles: Lowest and highest percentile of a cut.

    Shapes:
        score: (n,); nuisance: (n,) or (n, variables); weight: (n,) -> scalar

    Returns:
        The non-closure between 0 and 1, in the dtype of score; 0 with gradient 0 for fewer than
        two entries of positive weight, a constant score or a constant nuisance.

    Raises:
        ConfigError: if an option is out of range.
        ShapeError: if the lengths differ or a shape is wrong.
        DataError: if a value is not finite or a weight negative.
    """
    check_input("abcd_closure", score, nuisance, weight)
    low, high = percentiles
    if cuts < 1 or not 0.0 <= low < high <= 100.0:
        msg = (
            f"abcd_closure: cuts {cuts}, percentiles {percentiles}; "
            "needed: at least 1, 0 <= low < high <= 100"
        )
        raise ConfigError(msg)
    dtype = score.dtype if score.is_floating_point() else torch.float64
    columns = columns_of(nuisance.detach()).double()
    w = (torch.ones_like(score) if weight is None else weight).detach().double()
    kept = w > 0
    values = [
        _non_closure(score[kept].double(), column, w[kept], cuts=cuts, percentiles=percentiles)
        for column in columns[kept].T
    ]
    return torch.stack(values).mean().to(dtype)


def _non_closure(
    score: Tensor, nuisance: Tensor, w: Tensor, *, cuts: int, percentiles: tuple[float, float]
) -> Tensor:
    sides = []
    for values in (score, nuisance):
        known = values.detach()
        if len(known) < 2 or bool(known.min() == known.max()):
            return score.sum() * 0.0
        share = torch.rand(cuts, dtype=known.dtype).to(known.device)
        share = (percentiles[0] + (percentiles[1] - percentiles[0]) * share) / 100.0
        at = known.sort().values[(share * (len(known) - 1)).round().long()]
        scale = _STEEPNESS / (known.max() - known.min())
        sides.append(torch.sigmoid(scale * (values.unsqueeze(1) - at)))
    above, right = sides
    everything = w.sum()
    passed, selected = w @ above, w @ right
    a = w @ (above * right)
    b, c = passed - a, selected - a
    d = everything - a - b - c
    # All four are sums of products in [0, 1]; rounding may put an empty one below zero.
    diagonal, other = (a * d).clamp(min=0.0), (b * c).clamp(min=0.0)
    total = diagonal + other
    filled = total > 0
    relative = (diagonal - other).abs() / torch.where(filled, total, 1.0)
    return torch.where(filled, relative, 0.0).mean()
