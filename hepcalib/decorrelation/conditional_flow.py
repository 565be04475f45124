"""The distribution function of the score given the nuisances, by a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from zuko.transforms import MonotonicRQSTransform

from hepcalib.decorrelation.conditional import Conditional
from hepcalib.decorrelation.networks import Descent
from hepcalib.decorrelation.normal_scores import BOUND
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike
    from torch import Tensor

__all__ = ["ConditionalFlow"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionalFlow(Conditional):
    r"""Distribution function of the score given the nuisances, from a monotone spline flow.

    .. math:: u = \Phi(T(z; m)), \quad
        \min_T -\langle \ln N(T(z; m); 0, 1) + \ln \partial T / \partial z \rangle

    z is the normal score and T a rational-quadratic spline whose nodes a network of the nuisances
    sets. u is uniform at every m, and orders the jets of one m as the score does: the ROC curve at
    fixed m does not change.

    Reference: arXiv:2211.02486, arXiv:1906.04032 (splines).

    Args:
        bins: Number of bins of the spline.
    """

    bins: int

    @classmethod
    def fit(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        *,
        weight: ArrayLike | None = None,
        bins: int = 8,
        hidden: Sequence[int] = (32, 32),
        epochs: int = 30,
        batch_size: int = 2048,
        learning_rate: float = 5e-3,
        seed: int = 0,
    ) -> Self:
        """Fit the flow to background jets by maximum likelihood.

        Args:
            score: Scores (rows,).
            nuisances: One or two variables (rows,).
            weight: Event weights (rows,), not negative.
            bins: Number of bins of the spline, at least 2.
            hidden: Widths of the hidden layers.
            epochs: Passes over the jets.
            batch_size: Jets in a step.
            learning_rate: At the start.
            seed: Of the first weights and the order of the jets.

        Raises:
            ConfigError: if an option is out of range.
            DataError: as for `background`.
            TrainingError: if the loss is not finite.
        """
        where = "conditional flow"
        if bins < 2:
            msg = f"{where}: bins is {bins}; needed: at least 2"
            raise ConfigError(msg)
        how = Descent(epochs, batch_size, learning_rate, seed)
        return cls.learnt(score, nuisances, weight, hidden=hidden, how=how, where=where, bins=bins)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return 3 * self.bins - 1

    def loss(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return minus the logarithm of the likelihood, up to a constant."""
        moved, logarithm = self._spline(raw).call_and_ladj(normal)
        minus: Tensor = 0.5 * moved.square() - logarithm
        return minus

    def normal_values(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return T(z; m)."""
        moved: Tensor = self._spline(raw)(normal)
        return moved

    def _spline(self, raw: Tensor) -> MonotonicRQSTransform:
        parts = torch.split(raw, [self.bins, self.bins, self.bins - 1], dim=1)
        return MonotonicRQSTransform(*parts, bound=BOUND)
