"""The distribution function of the score given the nuisances, from a network of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hepcalib.decorrelation.decorrelator import Decorrelator, background, levels
from hepcalib.decorrelation.networks import descend, evaluated, flattened, network, restored
from hepcalib.decorrelation.normal_scores import normal_nodes, normal_scores
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from hepcalib.decorrelation.networks import Descent

    Floats = NDArray[np.float64]

__all__ = ["Conditional"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditional(Decorrelator):
    """The distribution function of the score, given the nuisances, from a network of them.

    The score is first made normal by the distribution function of all background, the nuisances
    are standardised.

    Args:
        hidden: Widths of the hidden layers.
        weights: All weights of the network.
        nodes: Scores at normal values from -5 to 5.
        shift: Mean of each nuisance.
        scale: Standard deviation of each.
    """

    hidden: tuple[int, ...]
    weights: Floats
    nodes: Floats
    shift: Floats
    scale: Floats

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of outputs of the network."""

    @abstractmethod
    def loss(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return the loss of each row, from outputs and normal scores.

        Shapes:
            raw: (rows, outputs); normal: (rows,) -> (rows,)
        """

    @abstractmethod
    def normal_values(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return normal values of the conditional distribution, from those of all background.

        Shapes:
            raw: (rows, outputs); normal: (rows,) -> (rows,)
        """

    @classmethod
    def learnt(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        weight: ArrayLike | None,
        *,
        hidden: Sequence[int],
        how: Descent,
        where: str,
        **own: int,
    ) -> Self:
        """Return what a network has learnt of background jets.

        Args:
            score: Scores (rows,).
            nuisances: One or two variables (rows,).
            weight: Event weights (rows,), not negative.
            hidden: Widths of the hidden layers.
            how: How the network is fitted.
            where: What it is for, in messages.
            own: Further fields of the class.

        Raises:
            ConfigError: if an option is out of range.
            DataError: as for `background`.
            TrainingError: if the loss is not finite.
        """
        how.checked(where)
        if any(width < 1 for width in hidden):
            msg = f"{where}: hidden is {list(hidden)}; needed: at least 1 each"
            raise ConfigError(msg)
        sample = background(score, nuisances, weight, where=where)
        shift = sample.weight @ sample.values
        spread = np.sqrt(sample.weight @ (sample.values - shift) ** 2)
        start = cls(
            variables=tuple(nuisances),
            ranges=sample.ranges,
            table=np.zeros(0),
            hidden=tuple(hidden),
            weights=np.zeros(0),
            nodes=normal_nodes(sample.score, sample.weight),
            shift=shift,
            scale=np.where(spread > 0, spread, 1.0),
            **own,
        )
        inputs, normal = start._standard(sample.score, sample.values)
        net = network(len(shift), hidden, start.outputs, seed=how.seed)
        descend(net, start.loss, inputs=inputs, targets=normal, weight=sample.weight, how=how)
        moved = evaluated(net, start.normal_values, inputs=inputs, targets=normal)
        return replace(start, weights=flattened(net), table=levels(moved, sample.weight))

    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return the normal value of the conditional distribution function, (rows,)."""
        net = restored(len(self.shift), self.hidden, self.outputs, weights=self.weights)
        inputs, normal = self._standard(score, nuisances)
        return evaluated(net, self.normal_values, inputs=inputs, targets=normal)

    def _standard(self, score: Floats, nuisances: Floats) -> tuple[Floats, Floats]:
        """Return standardised nuisances and normal scores."""
        return (nuisances - self.shift) / self.scale, normal_scores(score, self.nodes)

    def require_whole(self) -> None:
        """Refuse a network of other sizes than its weights, or nodes that do not rise."""
        super().require_whole()
        restored(len(self.variables), self.hidden, self.outputs, weights=self.weights)
        shapes = {self.shift.shape, self.scale.shape, (len(self.variables),)}
        if len(shapes) > 1 or not (self.scale > 0).all() or self.nodes.ndim != 1:
            msg = (
                f"{type(self).__name__}: shift {self.shift}, scale {self.scale}, nodes of shape "
                f"{self.nodes.shape}; needed: one of each variable, positive, a list"
            )
            raise ConfigError(msg)
