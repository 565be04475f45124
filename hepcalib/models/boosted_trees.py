"""Boosted decision trees that are uniform in a nuisance: what networks are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError, DataError, TrainingError, suggestion
from hepcalib.models.boosting import BOOSTING, Trees, boosted
from hepcalib.models.model import Model, checked, described

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head
    from hepcalib.models.model import Labelled

__all__ = ["BoostedTrees"]


class BoostedTrees(Model):
    r"""Boosted trees on the features of an object, fitted by hep_ml at the end of a training.

    .. math:: a(x) = c_1 \sum_t v_t(x) + c_0

    `flatness` minimises the exponential loss plus `strength` times the mean squared difference of
    the score's distribution functions in bins of the nuisances and overall (the MoDe[0] of trees);
    `uniform` boosts background where its efficiency at `efficiency` is below or above it (uBoost);
    `plain` does neither. Descent has nothing to learn here: one epoch is enough, and the logit's
    scale c is that of the largest likelihood of the held-out rows.

    Reference: arXiv:1305.7248 (uBoost), arXiv:1410.4140 (flatness).

    Args:
        features: Number of features per row.
        head: A BernoulliHead.
        method: "flatness", "uniform" or "plain".
        trees: Their number.
        depth: Of each tree, at most 12.
        learning_rate: Factor of each tree.
        strength: Factor of the flatness, or rate of the uniformity.
        efficiency: Background efficiency at which `uniform` is uniform.
        bins: Bins of each nuisance with as many background rows each, of `flatness`.
        neighbours: Rows of the same class that give a local efficiency, of `uniform`.
        subsample: Share of the rows that a tree sees.
        seed: Of these shares.

    Raises:
        ConfigError: if a value is out of range.
    """

    feature: Tensor
    threshold: Tensor
    value: Tensor

    def __init__(
        self,
        *,
        features: int,
        head: Head,
        method: str = "flatness",
        trees: int = 100,
        depth: int = 3,
        learning_rate: float = 0.1,
        strength: float = 3.0,
        efficiency: float = 0.1,
        bins: int = 15,
        neighbours: int = 50,
        subsample: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(method, {"features": features, "trees": trees, "bins": bins}, depth, neighbours)
        positive = {"learning_rate": learning_rate, "strength": strength}
        for name, number in positive.items():
            if number < (0 if name == "strength" else 1e-12):
                msg = f"BoostedTrees: {name} is {number}; needed: positive"
                raise ConfigError(msg)
        if not 0 < efficiency < 1 or not 0 < subsample <= 1:
            msg = f"BoostedTrees: efficiency {efficiency}, subsample {subsample}; needed: in (0, 1)"
            raise ConfigError(msg)
        self.features = features
        self.options: dict[str, Any] = {
            "method": method,
            "trees": trees,
            "depth": depth,
            "learning_rate": learning_rate,
            "strength": strength,
            "efficiency": efficiency,
            "bins": bins,
            "neighbours": neighbours,
            "subsample": subsample,
            "seed": seed,
        }
        self.depth, inner = depth, 2**depth - 1
        self.register_buffer("feature", torch.zeros(trees, inner, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, inner))
        self.register_buffer("value", torch.zeros(trees, inner + 1))
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {"features": self.features, **self.options, "head": described(self.head)}

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logit, (rows, 1).

        Raises:
            ShapeError: if the batch has another number of features.
        """
        values = checked(batch.features, self.features, model=self, what="features")
        return (self.scale * self._sum(values) + self.offset).unsqueeze(1)

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit the trees, then the scale of the logit.

        Raises:
            TrainingError: if there is no nuisance to be uniform in, or a class is missing.
            DataError: if a weight is negative, or a nuisance not finite.
        """
        features, nuisance = training.batch.features, training.nuisance
        if features is None or (nuisance is None and self.options["method"] != "plain"):
            msg = f"BoostedTrees, {self.options['method']}: no nuisance; give uniform_in"
            raise TrainingError(msg)
        nuisances = None if nuisance is None else nuisance.reshape(len(features), -1).cpu().numpy()
        _require_usable(nuisances, training.weight)
        found = boosted(
            features.cpu().numpy(),
            (training.target > 0.5).cpu().numpy(),
            nuisance=nuisances,
            weight=None if training.weight is None else training.weight.cpu().numpy(),
            **self.options,
        )
        self._take(found)
        self._calibrate(held_out)

    @torch.no_grad()
    def _take(self, found: Trees) -> None:
        for buffer, values in zip((self.feature, self.threshold, self.value), found, strict=True):
            buffer.copy_(torch.from_numpy(values))

    @torch.no_grad()
    def _calibrate(self, held_out: Labelled) -> None:
        """Take the scale and offset of the largest likelihood, by Newton's method."""
        values = checked(held_out.batch.features, self.features, model=self, what="features")
        inputs = torch.stack([self._sum(values), torch.ones_like(values[:, 0])], dim=1).double()
        weight = torch.ones_like(inputs[:, 0]) if held_out.weight is None else held_out.weight
        theta = inputs.new_tensor([1.0, 0.0])
        small = 1e-3 * torch.eye(2, dtype=inputs.dtype, device=inputs.device)  # keeps it finite
        for _ in range(25):
            share = torch.sigmoid(inputs @ theta)
            slope = inputs.T @ (weight * (held_out.target - share)) - small @ theta
            curved = (inputs * (weight * share * (1 - share)).unsqueeze(1)).T @ inputs + small
            step = torch.linalg.solve(curved, slope)
            theta = theta + step / max(1.0, float(step.norm()))
        # Signal has high scores, whatever a few held-out rows say.
        self.scale.fill_(max(float(theta[0]), 1e-3))
        self.offset.fill_(float(theta[1]))

    def _sum(self, values: Tensor) -> Tensor:
        """Return the sum of all trees, (rows,)."""
        total = values.new_zeros(len(values))
        for feature, threshold, value in zip(self.feature, self.threshold, self.value, strict=True):
            node = torch.zeros(len(values), dtype=torch.int64, device=values.device)
            for _ in range(self.depth):
                inside = values.gather(1, feature[node].unsqueeze(1)).squeeze(1)
                node = 2 * node + 1 + (inside > threshold[node])
            total = total + value[node - (2**self.depth - 1)]
        return total


def _check(method: str, counts: dict[str, int], depth: int, neighbours: int) -> None:
    if method not in BOOSTING:
        msg = f"BoostedTrees: unknown method '{method}'. {suggestion(method, BOOSTING)}"
        raise ConfigError(msg)
    for name, count in {**counts, "depth": depth, "neighbours": neighbours}.items():
        if count < 1 or (name == "depth" and count > 12):
            most = " and at most 12" if name == "depth" else ""
            msg = f"BoostedTrees: {name} is {count}; needed: at least 1{most}"
            raise ConfigError(msg)


def _require_usable(nuisances: NDArray[np.float32] | None, weight: Tensor | None) -> None:
    if weight is not None and bool((weight < 0).any()):
        msg = "BoostedTrees: a weight is negative; train without weights, or with positive ones"
        raise DataError(msg)
    if nuisances is not None:
        bad = ~np.isfinite(nuisances).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            msg = f"BoostedTrees: the nuisance is not finite in row {row}: {nuisances[row]}"
            raise DataError(msg)
