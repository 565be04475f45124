"""Monte-Carlo dropout as a wrapper around any model."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from hepcalib.exceptions import ConfigError
from hepcalib.models.model import described
from hepcalib.models.stacking import stacked_outputs
from hepcalib.models.wrapping import (
    Wrapper,
    acts_on_constituents,
    keyed_generator,
    linear_layers,
    require_draws,
    require_memory,
    require_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.model import Model

__all__ = ["Dropout"]


class Dropout(Wrapper):
    r"""A model whose linear layers lose a random part of their inputs, in prediction too.

    .. math:: z = W (m \odot x) + b, \quad m_i = \frac{\mathrm{Bernoulli}(1 - p)}{1 - p}, \quad
        \mathrm{Var}\, z = \frac{p}{1 - p} \sum_i w_i^2 x_i^2

    In training each row has its own mask; in the layers that act on constituents, all jets of a
    block share one, as they do in a prediction. In a prediction a draw is one function of the
    input: one mask per layer, the same for all rows and constituents, which depends on the seed
    and the numbers of draw and layer only. A mask on the inputs is a factor of the columns of W,
    so that all draws are evaluated together. ``outputs`` in evaluation drops nothing.

    The first linear layer, which sees the features, keeps all its inputs unless ``inputs`` is set.
    The spread is set by the rate, not by the size of the training sample: it does not vanish for
    many examples, as the statistical uncertainty does.

    Reference: arXiv:1506.02142.

    Args:
        model: Any model with linear layers and no members of its own. It is copied.
        rate: Probability p of an input to be dropped.
        draws: Number M of masks for a prediction.
        seed: Seed of these masks.
        inputs: Whether the first linear layer loses inputs as well.

    Raises:
        ConfigError: if no linear layer is left to act on, the model has members of its own, or a
            number is out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        rate: float = 0.1,
        draws: int = 50,
        seed: int = 0,
        inputs: bool = False,
    ) -> None:
        require_plain(model, "Dropout")
        require_draws(draws, seed, "Dropout")
        if not 0.0 < rate < 1.0:
            msg = f"Dropout: rate is {rate}; needed: above 0 and below 1"
            raise ConfigError(msg)
        super().__init__(model)
        self.rate, self.draws, self.seed, self.inputs = rate, draws, seed, inputs
        self._names = tuple(linear_layers(self.model))[0 if inputs else 1 :]
        if not self._names:
            msg = (
                f"Dropout: {type(model).__name__} has no linear layer after the first; needed: a "
                "hidden layer, or inputs: true"
            )
            raise ConfigError(msg)
        layers = self._layers().values()
        require_memory(draws, sum(layer.weight.numel() for layer in layers), "Dropout")
        for index, layer in enumerate(layers):
            kept = [self._kept(draw, index, layer.in_features) for draw in range(draws)]
            self.register_buffer(f"kept_{index}", torch.stack(kept), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": described(self.model),
            "rate": self.rate,
            "draws": self.draws,
            "seed": self.seed,
            "inputs": self.inputs,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs: random in training, of the whole network in evaluation."""
        with self._dropping():
            return super().outputs(batch)

    def forward(self, batch: Batch) -> Distribution:
        """Return the distribution that the wrapped model returns: random in training."""
        with self._dropping():
            return super().forward(batch)

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs under each mask, (draws, rows, head.outputs)."""
        return stacked_outputs(self.model, self.stacked(), batch)

    def stacked(self) -> dict[str, Tensor]:
        """Return the weights under each mask, (draws, outputs, inputs), by their names."""
        weights = {}
        for index, (name, layer) in enumerate(self._layers().items()):
            mask = self.get_buffer(f"kept_{index}").to(layer.weight.dtype) / (1.0 - self.rate)
            weights[f"{name}.weight"] = layer.weight * mask.unsqueeze(1)
        return weights

    def _layers(self) -> dict[str, nn.Linear]:
        layers = linear_layers(self.model)
        return {name: layers[name] for name in self._names}

    def _kept(self, draw: int, layer: int, width: int) -> Tensor:
        generator = keyed_generator(self.seed, draw, layer)
        return torch.rand(width, generator=generator, dtype=torch.float32) >= self.rate

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Drop inputs of the layers while training."""
        layers = self._layers() if self.training else {}
        hooks = [
            layer.register_forward_pre_hook(self._hook(name)) for name, layer in layers.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
        shared = acts_on_constituents(self.model, name)

        def drop(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            (values,) = inputs
            ones = torch.ones_like(values[:1] if shared else values)
            return values * functional.dropout(ones, self.rate)

        return drop
