"""Mean-field variational inference as a wrapper around any model."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.mean_field import MeanFieldLinear, divergence
from hepcalib.models.model import Model, checked, described
from hepcalib.models.moments import Known, Moments, known, mean_uncertainty, propagated
from hepcalib.models.stacked_layers import FixedParameters
from hepcalib.models.stacking import stacked_outputs
from hepcalib.models.wrapping import (
    acts_on_constituents,
    keyed_generator,
    require_draws,
    require_memory,
    require_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.model import Labelled

__all__ = ["Bayesian"]

Made = TypeVar("Made")


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
        ConfigError: if the model has no linear layer or has members of its own, or a number is out
            of range.
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
        require_plain(model, "Bayesian")
        require_draws(draws, seed, "Bayesian")
        if not 0 < prior_precision < math.inf or not math.isfinite(initial_log_variance):
            msg = (
                f"Bayesian: prior_precision is {prior_precision}, initial_log_variance "
                f"{initial_log_variance}; needed: finite, the first one above 0"
            )
            raise ConfigError(msg)
        self.prior_precision, self.draws, self.seed = prior_precision, draws, seed
        self.initial_log_variance = initial_log_variance
        self.model = copy.deepcopy(model)
        self.head = self.model.head
        _replace_linear(self.model, initial_log_variance)
        if not self._layers():
            msg = f"Bayesian: {type(model).__name__} has no nn.Linear; needed: at least one"
            raise ConfigError(msg)
        require_memory(draws, sum(layer.weight.numel() for layer in self._layers()), "Bayesian")
        self._made: dict[str, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

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
        self._made = {}
        return super().train(mode)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs: random in training, of the mean weights in evaluation."""
        return self.model.outputs(batch)

    def forward(self, batch: Batch) -> Distribution:
        """Return the distribution of the target: random in training."""
        distribution: Distribution = self.model(batch)
        return distribution

    def loss(self, predicted: Any, target: Tensor) -> Tensor:
        """Return the loss per row of the model within, (rows,)."""
        return self.model.loss(predicted, target)

    def weighted_loss(self, predicted: Any, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the weighted loss per row of the model within, (rows,)."""
        return self.model.weighted_loss(predicted, target, weight)

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit what the model within does not learn by descent."""
        self.model.finish(training, held_out)

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return the divergence of the weights from their prior, shared out over the rows."""
        own = self.model.regulariser(predicted, target, rows=rows, weight=weight)
        return self.kl() / rows + own

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of each weight draw, (draws, rows, head.outputs).

        All draws are evaluated together. They are constants: no gradient reaches the means and
        variances of the weights.
        """
        drawn = self._once(_Drawn.__name__, self._draw)
        return stacked_outputs(drawn.model, drawn.weights, batch)

    def stacked(self) -> dict[str, Tensor]:
        """Return the drawn weights, (draws, outputs, inputs) each, by their names in the model."""
        return self._once(_Drawn.__name__, self._draw).weights

    def moments(self, batch: Batch) -> Moments:
        """Return mean and variance of the raw outputs over the weights, without drawing any.

        See ``hepcalib.models.moments.propagated`` for the formulas and the accuracy.

        Raises:
            ConfigError: if the model is more than linear layers and known activations in a row.
            ShapeError: if the batch does not fit the model.
        """
        return propagated(self._once(Known.__name__, self._known), self._features(batch))

    def mean_uncertainty(self, batch: Batch) -> Tensor:
        """Return the statistical uncertainty of the mean of the target, (rows,), without draws.

        See ``hepcalib.models.moments.mean_uncertainty`` for the formula and the accuracy.

        Raises:
            ConfigError: if the model is more than linear layers and known activations in a row.
            ShapeError: if the batch does not fit the model.
        """
        layers = self._once(Known.__name__, self._known)
        return mean_uncertainty(layers, self._features(batch), head=self.head)

    def kl(self) -> Tensor:
        """Return the divergence of the weights from their prior [nat], summed over all of them."""
        return divergence(self._layers(), self.prior_precision)

    def _layers(self) -> list[MeanFieldLinear]:
        return [module for module in self.modules() if isinstance(module, MeanFieldLinear)]

    def _once(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what follows from the parameters, made once until they change."""
        key = (self.draws, self.seed, *(_state(parameter) for parameter in self.parameters()))
        found = self._made.get(name)
        if found is None or found[0] != key:
            # Not as inference tensors, which could not be used for gradients of the inputs later.
            with torch.inference_mode(False), torch.no_grad():
                found = key, make()
            self._made[name] = found
        made: Made = found[1]
        return made

    def _known(self) -> list[Known]:
        return known(self.model)

    def _features(self, batch: Batch) -> Tensor:
        width = self._layers()[0].weight.shape[1]
        return checked(batch.features, width, model=self.model, what="features")

    def _draw(self) -> _Drawn:
        names = {layer: name for name, layer in self.model.named_modules()}
        weights = {
            f"{names[layer]}.weight": self._draws_of(index, layer)
            for index, layer in enumerate(self._layers())
        }
        return _Drawn(self._plain(), FixedParameters(weights))

    def _draws_of(self, index: int, layer: MeanFieldLinear) -> Tensor:
        drawn = [
            layer.sample(_noise((self.seed, draw, index), layer.weight))
            for draw in range(self.draws)
        ]
        return torch.stack(drawn)

    def _plain(self) -> Model:
        """Return a copy of the model with linear layers, which has the same parameters."""
        same: dict[int, Any] = {id(layer): layer.plain() for layer in self._layers()}
        same |= {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        return copy.deepcopy(self.model, same).eval()


class _Drawn(NamedTuple):
    """The plain model and the draws of its weights."""

    model: Model
    weights: FixedParameters  # (draws, outputs, inputs), by names of parameters of the model


def _replace_linear(model: Model, initial_log_variance: float) -> None:
    """Replace each nn.Linear; one that is used twice stays one layer."""
    replaced: dict[int, MeanFieldLinear] = {}
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear:
                continue
            layer = replaced.get(id(child)) or MeanFieldLinear(
                child,
                initial_log_variance=initial_log_variance,
                shared=acts_on_constituents(model, f"{path}.{name}".lstrip(".")),
            )
            replaced[id(child)] = layer
            setattr(parent, name, layer)


def _noise(key: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return standard normal noise that depends on the key and the shape only."""
    noise = torch.randn(like.shape, generator=keyed_generator(*key), dtype=torch.float32)
    return noise.to(like)


def _state(parameter: Tensor) -> tuple[Any, ...]:
    """Return what changes when the numbers of a parameter do, or the place they are needed at."""
    version = -1 if parameter.is_inference() else parameter._version
    return parameter.device, parameter.dtype, parameter.data_ptr(), version
