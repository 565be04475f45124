"""Conditional distribution functions of the score: by quantile regression, and by a flow."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from zuko.transforms import MonotonicRQSTransform

from hepcalib.decorrelation.decorrelator import Decorrelator, background, levels
from hepcalib.decorrelation.networks import (
    Descent,
    descend,
    evaluated,
    flattened,
    network,
    restored,
)
from hepcalib.decorrelation.normal_scores import (
    BOUND,
    equidistant,
    normal_nodes,
    normal_scores,
    ordered,
)
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

__all__ = ["ConditionalFlow", "QuantileRegression"]

_Fitted = TypeVar("_Fitted", bound="_Conditional")


class _Prepared(NamedTuple):
    """What a conditional fit starts from."""

    parts: dict[str, Any]
    normal: Floats  # (rows,) normal scores
    inputs: Floats  # (rows, variables)
    weight: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class _Conditional(Decorrelator):
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
    def normal_values(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return normal values of the conditional distribution, from those of all background."""

    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return the normal value of the conditional distribution function, (rows,)."""
        net = restored(len(self.shift), self.hidden, self.outputs, weights=self.weights)
        inputs = (nuisances - self.shift) / self.scale
        normal = normal_scores(score, self.nodes)
        return evaluated(net, self.normal_values, inputs=inputs, targets=normal)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return what had this state."""
        made = super().from_state(state)
        return replace(made, hidden=tuple(int(width) for width in made.hidden))


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantileRegression(_Conditional):
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
        how = Descent(epochs, batch_size, learning_rate, seed).checked("quantile regression")
        if quantiles < 3:
            msg = f"quantile regression: quantiles is {quantiles}; needed: at least 3"
            raise ConfigError(msg)
        start = _prepared(score, nuisances, weight, hidden, where="quantile regression")
        at = torch.from_numpy(equidistant(quantiles))
        probabilities = torch.special.ndtr(at)

        def loss(raw: Tensor, normal: Tensor) -> Tensor:
            residual = ordered(raw, at) - normal.unsqueeze(1)
            return torch.maximum(-probabilities * residual, (1 - probabilities) * residual).mean(1)

        net = network(start.inputs.shape[1], hidden, quantiles, seed=seed)
        descend(net, loss, inputs=start.inputs, targets=start.normal, weight=start.weight, how=how)
        made = cls(**start.parts, weights=flattened(net), quantiles=quantiles)
        return _with_table(made, start)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return self.quantiles

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


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionalFlow(_Conditional):
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
        how = Descent(epochs, batch_size, learning_rate, seed).checked("conditional flow")
        if bins < 2:
            msg = f"conditional flow: bins is {bins}; needed: at least 2"
            raise ConfigError(msg)
        start = _prepared(score, nuisances, weight, hidden, where="conditional flow")

        def loss(raw: Tensor, normal: Tensor) -> Tensor:
            moved, logarithm = _spline(raw, bins).call_and_ladj(normal)
            minus: Tensor = 0.5 * moved.square() - logarithm
            return minus

        net = network(start.inputs.shape[1], hidden, 3 * bins - 1, seed=seed)
        descend(net, loss, inputs=start.inputs, targets=start.normal, weight=start.weight, how=how)
        made = cls(**start.parts, weights=flattened(net), bins=bins)
        return _with_table(made, start)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return 3 * self.bins - 1

    def normal_values(self, raw: Tensor, normal: Tensor) -> Tensor:
        """Return T(z; m)."""
        moved: Tensor = _spline(raw, self.bins)(normal)
        return moved


def _prepared(
    score: ArrayLike,
    nuisances: Mapping[str, ArrayLike],
    weight: ArrayLike | None,
    hidden: Sequence[int],
    *,
    where: str,
) -> _Prepared:
    if any(width < 1 for width in hidden):
        msg = f"{where}: hidden is {list(hidden)}; needed: at least 1 each"
        raise ConfigError(msg)
    sample = background(score, nuisances, weight, where=where)
    nodes = normal_nodes(sample.score, sample.weight)
    shift = sample.weight @ sample.values
    spread = np.sqrt(sample.weight @ (sample.values - shift) ** 2)
    scale = np.where(spread > 0, spread, 1.0)
    low, high = sample.values.min(0), sample.values.max(0)
    parts = {
        "variables": tuple(nuisances),
        "ranges": tuple(zip(low.tolist(), high.tolist(), strict=True)),
        "table": np.zeros(0),
        "hidden": tuple(hidden),
        "nodes": nodes,
        "shift": shift,
        "scale": scale,
    }
    inputs = (sample.values - shift) / scale
    return _Prepared(parts, normal_scores(sample.score, nodes), inputs, sample.weight)


def _with_table(made: _Fitted, start: _Prepared) -> _Fitted:
    net = restored(len(made.shift), made.hidden, made.outputs, weights=made.weights)
    moved = evaluated(net, made.normal_values, inputs=start.inputs, targets=start.normal)
    return replace(made, table=levels(moved, start.weight))


def _spline(raw: Tensor, bins: int) -> MonotonicRQSTransform:
    parts = torch.split(raw, [bins, bins, bins - 1], dim=1)
    return MonotonicRQSTransform(*parts, bound=BOUND)
