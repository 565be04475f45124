"""Conditional quantiles of the score, by quantile regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hepcalib.decorrelation.conditional import Conditional
from hepcalib.decorrelation.networks import Descent
from hepcalib.decorrelation.normal_scores import equidistant, ordered
from hepcalib.exceptions import ConfigError
from hepcalib.losses import pinball

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike
    from torch import Tensor

__all__ = ["QuantileRegression"]


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantileRegression(Conditional):
    r"""Conditional quantiles of the score, found with the pinball loss of a network.

    .. math:: \min_q \sum_k \langle \rho_{p_k}(s - q_k(m)) \rangle, \quad
        \rho_p(u) = \max(p u, (p - 1) u)

    The quantiles are ordered by construction and joined by straight lines of normal values; beyond
    the outer ones the lines go on.

    Reference: arXiv:1305.7248 (uniform efficiencies), Koenker and Bassett, Econometrica 46 (1978)
        33.

    Args:
        quantiles: Their number K, at probabilities that are equidistant in normal values.
    """

    quantiles: int

    @classmethod
    def fit(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        *,
        weight: ArrayLike | None = None,
        quantiles: int = 25,
        hidden: Sequence[int] = (32, 32),
        epochs: int = 30,
        batch_size: int = 2048,
        learning_rate: float = 5e-3,
        seed: int = 0,
    ) -> Self:
        """Fit the quantiles of background jets.

        Args:
            score: Scores (rows,).
            nuisances: One or two variables (rows,).
            weight: Event weights (rows,), not negative.
            quantiles: Number of quantiles, at least 3.
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
        where = "quantile regression"
        if quantiles < 3:
            msg = f"{where}: quantiles is {quantiles}; needed: at least 3"
            raise ConfigError(msg)
        how = Descent(epochs, batch_size, learning_rate, seed)
        return cls.learnt(
            score, nuisances, weight, hidden=hidden, how=how, where=where, quantiles=quantiles
        )

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return self.quantiles

    def loss(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return the mean pinball loss of the quantiles."""
        at = torch.from_numpy(equidistant(self.quantiles))
        residual = ordered(raw, at) - normal.unsqueeze(1)
        return pinball(residual, probability=torch.special.ndtr(at)).mean(1)

    def normal_values(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return normal values from the two quantiles around, or the two outermost."""
        at = torch.from_numpy(equidistant(self.quantiles))
        nodes = ordered(raw, at)
        place = torch.searchsorted(nodes, normal.unsqueeze(1)).clamp(1, self.quantiles - 1)
        low, high = nodes.gather(1, place - 1), nodes.gather(1, place)
        share = (normal.unsqueeze(1) - low) / (high - low)
        left = at[place - 1]
        between = left + share * (at[place] - left)
        values: Tensor = between.squeeze(1)
        return values
