"""The Laplace approximation of the last layer as a wrapper around any model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models.fisher import fisher_information
from hepcalib.models.model import Model, described
from hepcalib.models.wrapping import (
    Wrapper,
    keyed_generator,
    linear_layers,
    require_draws,
    require_memory,
    require_plain,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hepcalib.batch import Batch
    from hepcalib.models.model import Labelled

__all__ = ["Laplace"]

MOST_PARAMETERS = 8192  # a covariance of 0.3 GB in single precision
BLOCK = 256  # rows at a time, so that their products stay in the processor's cache


class Laplace(Wrapper):
    r"""A model whose last layer has normally distributed weights, fitted after the training.

    .. math:: w \sim N(\hat w, \Sigma), \quad
        \Sigma^{-1} = \sum_n \frac{w_n}{\bar w} J_n^T F_n J_n + \tau 1, \quad
        J_n = \frac{\partial r_n}{\partial w}

    with the raw outputs r, their Fisher information F and weights and biases w of the last layer.
    The training is that of the model, with the prior N(0, 1/tau) of the last layer as regulariser,
    tau |w|^2 / (2 N), so that it ends at the maximum of the posterior; the other layers have no
    prior and no uncertainty. For a linear model with normal noise of known width this is the
    posterior.

    ``finish`` fills the covariance; there is no prediction without it. ``outputs`` uses the fitted
    weights, ``member_outputs`` a fixed set of weight draws which depend on the seed and the number
    of the draw only: the features that the last layer sees are computed once for all draws.

    Reference: arXiv:2106.14806.

    Args:
        model: Any model that ends in a linear layer and has no members of its own. It is copied.
        prior_precision: Precision tau of the prior of the last layer.
        draws: Number M of weight draws for a prediction.
        seed: Seed of these draws.

    Raises:
        ConfigError: if the model does not end in a linear layer of at most 8192 parameters, has
            members or a loss of its own or a head without Fisher information, or a number is out of
            range.
    """

    factor: Tensor
    fitted: Tensor
    noise: Tensor

    def __init__(
        self, model: Model, *, prior_precision: float = 1.0, draws: int = 50, seed: int = 0
    ) -> None:
        require_plain(model, "Laplace")
        if type(model).loss is not Model.loss:
            msg = f"Laplace: {type(model).__name__} has a loss of its own; needed: a likelihood"
            raise ConfigError(msg)
        require_draws(draws, seed, "Laplace")
        if not 0.0 < prior_precision < math.inf:
            msg = f"Laplace: prior_precision is {prior_precision}; needed: finite and above 0"
            raise ConfigError(msg)
        super().__init__(model)
        self.prior_precision, self.draws, self.seed = prior_precision, draws, seed
        self._name = _last_layer(self.model)
        self.model.eval()
        fisher_information(self.head, torch.zeros(1, self.head.outputs, dtype=torch.float32))
        count = self._weights().numel()
        require_memory(draws, count, "Laplace")
        noise = [
            torch.randn(count, generator=keyed_generator(seed, draw), dtype=torch.float32)
            for draw in range(draws)
        ]
        self.register_buffer("factor", self._weights().new_zeros(count, count))
        self.register_buffer("fitted", torch.tensor(data=False))
        self.register_buffer("noise", torch.stack(noise), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": described(self.model),
            "prior_precision": self.prior_precision,
            "draws": self.draws,
            "seed": self.seed,
        }

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return minus ln of the prior over the number of rows, and the model's own term."""
        own = 0.5 * self.prior_precision / rows * self._weights().square().sum()
        return own + super().regulariser(predicted, target, rows=rows, weight=weight)

    @torch.no_grad()
    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit the covariance of the last layer to the rows of the training.

        Raises:
            ConfigError: if the outputs of the model are not those of the last layer.
            TrainingError: if the weights of the rows leave no covariance, or the model is not
                finite.
        """
        super().finish(training, held_out)
        precision = self._information(training)
        precision.diagonal().add_(self.prior_precision)
        root, failed = torch.linalg.cholesky_ex(precision)
        if failed or not root.isfinite().all():
            msg = (
                f"Laplace: the precision of the last layer, of {len(root)} parameters and "
                f"{len(training.target)} rows, is not finite and positive; needed: a finite model "
                "and (mostly) positive weights"
            )
            raise TrainingError(msg)
        identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
        self.factor.copy_(torch.linalg.solve_triangular(root, identity, upper=False).mT)
        self.fitted.fill_(value=True)

    def covariance(self) -> Tensor:
        """Return the covariance of the last layer's (weights, bias) of one output after the other.

        Shapes:
            -> (parameters, parameters)

        Raises:
            ConfigError: if it is not fitted.
        """
        self._require_fitted()
        return self.factor @ self.factor.mT

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of each weight draw, (draws, rows, head.outputs).

        Raises:
            ConfigError: if the covariance is not fitted.
        """
        drawn = self._drawn()
        features = self._features(batch)[1]
        outputs = features @ drawn.flatten(0, 1).mT
        return outputs.view(len(features), *drawn.shape[:2]).movedim(1, 0)

    def stacked(self) -> dict[str, Tensor]:
        """Return the draws of the last layer's weights, (draws, ...), by their names.

        Raises:
            ConfigError: if the covariance is not fitted.
        """
        drawn = self._drawn()
        if self._layer().bias is None:
            return {f"{self._name}.weight": drawn}
        return {f"{self._name}.weight": drawn[..., :-1], f"{self._name}.bias": drawn[..., -1]}

    def _drawn(self) -> Tensor:
        """Return the draws of the last layer, (draws, outputs, inputs and bias)."""
        self._require_fitted()
        weights = self._weights()
        return (weights.flatten() + self.noise @ self.factor.mT).view(-1, *weights.shape)

    def _require_fitted(self) -> None:
        if not self.fitted.item():
            msg = "Laplace: the covariance is not fitted; call finish(training, held_out) first"
            raise ConfigError(msg)

    def _layer(self) -> nn.Linear:
        return linear_layers(self.model)[self._name]

    def _weights(self) -> Tensor:
        """Return the weights of the last layer and, as the last column, its bias."""
        layer = self._layer()
        bias: Tensor | None = layer.bias
        parts = [layer.weight] if bias is None else [layer.weight, bias.unsqueeze(1)]
        return torch.cat(parts, dim=1)

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the raw outputs and what the last layer makes them of, (rows, inputs)."""
        layer = self._layer()
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            outputs = self.model.outputs(batch)
        finally:
            hook.remove()
        features = torch.cat(seen)
        bias: Tensor | None = layer.bias
        if bias is not None:
            features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
        return outputs, features

    def _information(self, training: Labelled) -> Tensor:
        """Return the sum of J^T F J over the rows, (parameters, parameters)."""
        weights, weight = self._weights(), training.weight
        count, inputs = weights.shape
        upper = torch.triu_indices(count, count, device=weights.device)
        sums = weights.new_zeros(upper.shape[1] * inputs, inputs, dtype=torch.float64)
        rows = BLOCK if weights.device.type == "cpu" else 64 * BLOCK
        for start in range(0, training.batch.rows, rows):
            block = slice(start, start + rows)
            raw, features = self._features(training.batch.select(block))
            if start == 0:
                _require_last(raw, features @ weights.mT, self._name)
            fisher = fisher_information(self.head, raw)[:, *upper]
            if weight is not None:
                fisher *= (weight[block].double() / weight.double().mean()).unsqueeze(1)
            features = features.double()
            products = fisher.unsqueeze(2) * features.unsqueeze(1)
            sums.addmm_(products.flatten(1).mT, features)
        total = sums.new_zeros(count, count, inputs, inputs)
        total[upper[0], upper[1]] = total[upper[1], upper[0]] = sums.view(-1, inputs, inputs)
        return total.transpose(1, 2).reshape(count * inputs, count * inputs)


def _last_layer(model: Model) -> str:
    """Return the name of the last linear layer.

    Raises:
        ConfigError: if there is none, or its size does not serve.
    """
    name, layer = ([("", None), *linear_layers(model).items()])[-1]
    if layer is None or layer.out_features != model.head.outputs:
        msg = (
            f"Laplace: {type(model).__name__} does not end in a linear layer with the "
            f"{model.head.outputs} outputs of its head"
        )
        raise ConfigError(msg)
    count = sum(parameter.numel() for parameter in layer.parameters())
    if count > MOST_PARAMETERS:
        msg = (
            f"Laplace: the last layer '{name}' has {count} parameters; needed: at most "
            f"{MOST_PARAMETERS}, or the covariance does not fit into memory"
        )
        raise ConfigError(msg)
    return name


def _require_last(outputs: Tensor, expected: Tensor, name: str) -> None:
    scale = expected.nan_to_num().abs().max()
    wrong = outputs.shape != expected.shape or ((outputs - expected).abs() > 1e-3 * scale).any()
    if wrong:  # NaN shows in the covariance
        msg = f"Laplace: the outputs of the model are not those of its last layer '{name}'"
        raise ConfigError(msg)
