"""Whether a penalty has left a tagger that separates nothing."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import CollapseWarning
from hepcalib.losses.sorted_sums import ranking, signed_sum

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.training.examples import Examples
    from hepcalib.training.history import History

__all__ = ["validation_auc", "warn_of_collapse"]

_DEVIATIONS = 3.0  # by which the area under the ROC curve must exceed that of a coin, and
_ENOUGH = 0.05  # by how much in any case: a small sample shows less


def validation_auc(score: Tensor, validation: Examples) -> float:
    r"""Return the area under the ROC curve, from the scores themselves; ties count half.

    .. math:: A = \frac{\sum_{s, b} w_s w_b\, (1 + \mathrm{sgn}(x_s - x_b)) / 2}{W_S W_B}

    Shapes:
        score: (rows,)

    Returns:
        The area; 1/2 where the weights of a class do not have a positive sum.
    """
    signal, background = _weights(validation)
    if not (signal.sum() > 0 and background.sum() > 0):
        return 0.5
    above = signal @ signed_sum(background, ranking(score.double()))
    return float(0.5 + 0.5 * above / (signal.sum() * background.sum()))


def warn_of_collapse(history: History, validation: Examples) -> None:
    """Say so if the epoch that is kept does not separate better than a coin.

    Without separation the area under the ROC curve is 1/2 with a variance of
    (n_S + n_B + 1) / (12 n_S n_B), n the effective numbers of jets.

    Warns:
        CollapseWarning: if the area is not above 1/2 by three deviations or by 0.05.
    """
    kept = history.best
    n, m = (float(w.sum() ** 2 / w.square().sum()) for w in _weights(validation))
    deviation = math.sqrt((n + m + 1) / (12 * n * m)) if n * m else math.inf
    needed = 0.5 + min(_DEVIATIONS * deviation, _ENOUGH)
    if kept.validation_auc < needed:
        msg = (
            f"the score has collapsed: epoch {kept.epoch}, which is kept, has an area under the "
            f"ROC curve of {kept.validation_auc:.3f} on the validation sample, and separation "
            f"begins at {needed:.3f}; lower the penalty's strength, or raise its "
            "pretraining_epochs and warmup_epochs"
        )
        warnings.warn(msg, CollapseWarning, stacklevel=3)


def _weights(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the weights of the rows as signal and as background, 0 where they are not."""
    target = examples.target.double()
    weight = torch.ones_like(target) if examples.weight is None else examples.weight.double()
    is_signal = target > 0.5
    return torch.where(is_signal, weight, 0.0), torch.where(is_signal, 0.0, weight)
