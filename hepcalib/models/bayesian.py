"""Mean-field variational inference as a wrapper around any model."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.mean_field import MeanFieldLinear
from hepcalib.models.model import Model, described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from torch import Tensor

    from hepcalib.batch import Batch

__all__ = ["Bayesian"]


class Bayesian(Model):
    r"""A model whose linear layers have normally distributed weights; biases stay numbers.

    .. math:: q(w) = N(\mu, \sigma^2), \quad p(w) = N(0, 1/\tau), \quad
        loss = -\frac{1}{B} \sum_b \ln p(y_b | x_b, w) + \frac{KL(q \| p)}{N_{train}}

    In training each row sees its own weights; in the layers that act on constituents, all jets of
    a block share a draw. In evaluation ``outputs`` uses the means, and ``member_outputs`` a fixed
    set of weight draws that depend on the seed and the number of the draw only: draw m is the same
    function of the input for every batch, process and device, and with any number of draws.

    Reference: arXiv:1904.10004, arXiv:2412.04370.

    Args:
        model: Any model with linear layers. It is copied; its weights become the means.
        prior_precision: Precision tau of the prior.
        draws: Number M of weight draws for a prediction.
        seed: Seed of these draws.
        initial_log_variance: ln sigma^2 at the start.

    Raises:
        ConfigError: if the model has no linear layer or is Bayesian, or a number is out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        prior_precision: float = 1.0,
        draws: int = 50,
        seed: int = 0,
        initial_log_variance: float = -9.0,
    ) -> None:
        super().__init__()
        if not (0 < prior_precision < math.inf) or draws < 1 or seed < 0:
            msg = (
                f"Bayesian: prior_precision is {prior_precision}, draws {draws}, seed {seed}; "
                "needed: finite and > 0, at least 1, at least 0"
            )
            raise ConfigError(msg)
        if any(isinstance(module, MeanFieldLinear) for module in model.modules()):
            msg = f"Bayesian: {type(model).__name__} is Bayesian already; needed: a plain model"
            raise ConfigError(msg)
        self.prior_precision, self.draws, self.seed = prior_precision, draws, seed
        self.initial_log_variance = initial_log_variance
        self.model = copy.deepcopy(model)
        self.head = self.model.head
        _replace_linear(self.model, initial_log_variance)
        if not self._layers():
            msg = f"Bayesian: {type(model).__name__} has no nn.Linear; needed: at least one"
            raise ConfigError(msg)
        self._drawn: tuple[Any, list[Tensor]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": None}

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "model": described(self.model),
            "prior_precision": self.prior_precision,
            "draws": self.draws,
            "seed": self.seed,
            "initial_log_variance": self.initial_log_variance,
        }

    def train(self, mode: bool = True) -> Self:
        """Set the training mode and forget the weight draws."""
        self._drawn = None
        return super().train(mode)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs: random in training, of the mean weights in evaluation."""
        return self.model.outputs(batch)

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of each weight draw, (draws, rows, head.outputs).

        The draws are constants: no gradient reaches the means and variances of the weights.
        """
        weights = self._draw_weights()
        members = []
        for draw in range(self.draws):
            with self._fixed([drawn[draw] for drawn in weights]):
                members.append(self.model.outputs(batch))
        return torch.stack(members)

    def kl(self) -> Tensor:
        """Return the divergence of the weights from their prior [nat], summed over all of them."""
        return torch.stack([layer.kl(self.prior_precision) for layer in self._layers()]).sum()

    def _layers(self) -> list[MeanFieldLinear]:
        return [module for module in self.modules() if isinstance(module, MeanFieldLinear)]

    @contextmanager
    def _fixed(self, weights: list[Tensor]) -> Iterator[None]:
        layers = self._layers()
        try:
            for layer, drawn in zip(layers, weights, strict=True):
                layer.drawn = drawn
            yield
        finally:
            for layer in layers:
                layer.drawn = None

    def _draw_weights(self) -> list[Tensor]:
        """Return the draws of each layer's weights, (draws, outputs, inputs); made once."""
        key = (self.draws, self.seed, *(_state(parameter) for parameter in self.parameters()))
        if self._drawn is None or self._drawn[0] != key:
            # Not as inference tensors, which could not be used for gradients of the inputs later.
            with torch.inference_mode(False), torch.no_grad():
                weights = [self._draws_of(i, layer) for i, layer in enumerate(self._layers())]
            self._drawn = (key, weights)
        return self._drawn[1]

    def _draws_of(self, index: int, layer: MeanFieldLinear) -> Tensor:
        drawn = [
            layer.sample(_noise((self.seed, draw, index), layer.weight))
            for draw in range(self.draws)
        ]
        return torch.stack(drawn)


def _replace_linear(model: Model, initial_log_variance: float) -> None:
    """Replace each nn.Linear; one that is used twice stays one layer."""
    replaced: dict[int, MeanFieldLinear] = {}
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear:
                continue
            top = f"{path}.{name}".lstrip(".").split(".", maxsplit=1)[0]
            layer = replaced.get(id(child)) or MeanFieldLinear(
                child,
                initial_log_variance=initial_log_variance,
                shared=top in model.constituent_modules,
            )
            replaced[id(child)] = layer
            setattr(parent, name, layer)


def _noise(key: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return standard normal noise that depends on the key and the shape only."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator).to(like)


def _state(parameter: Tensor) -> tuple[Any, ...]:
    """Return what changes when the numbers of a parameter do, or the place they are needed at."""
    version = -1 if parameter.is_inference() else parameter._version
    return parameter.device, parameter.dtype, parameter.data_ptr(), version
