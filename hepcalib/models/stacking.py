"""Many networks of one architecture in one pass: their parameters stacked along a first axis."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional

from hepcalib.exceptions import ShapeError
from hepcalib.models import pfn
from hepcalib.models.efn import EFN
from hepcalib.models.layers import ACTIVATIONS
from hepcalib.models.mlp import MLP
from hepcalib.models.pfn import PFN
from hepcalib.models.products import NARROW, linear
from hepcalib.models.stacked_layers import CACHED, FixedParameters, at_a_time, chunked
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.model import Model

__all__ = ["stacked_outputs"]

PARTS: Mapping[type[Model], tuple[str, ...]] = {
    MLP: ("network",),
    PFN: ("phi", "f"),
    EFN: ("phi", "f"),
}
PLAIN = {nn.Sequential, nn.Linear, *ACTIVATIONS.values()}


def stacked_outputs(
    model: Model,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    *,
    buffers: Mapping[str, Tensor] | None = None,
) -> Tensor:
    r"""Return the raw outputs of M networks which differ in their parameters only.

    .. math:: f(x; \theta_m), \quad m = 1 \ldots M

    All networks are evaluated together: each linear layer is one batched matrix product. A random
    layer, as dropout in training, draws other numbers for each network. The model itself is left
    as it is, and what is not in ``parameters`` is common to all networks.

    Any model will do. Those of plain layers are evaluated here, with the bias inside the matrix
    product and what the networks have in common only once; others by ``torch.func.vmap``.

    Args:
        model: The architecture, in the mode (training, evaluation) that is asked for.
        parameters: Stacked values by the names of ``model.named_parameters()``; at least one.
        batch: Inputs, the same for all networks.
        buffers: Stacked values by the names of ``model.named_buffers()``, if those of the networks
            differ; a layer that updates its buffers in training updates these, in place. Without
            them, each network starts from those of the model, and its updates are lost.

    Shapes:
        parameters, buffers: (M, ...) each -> (M, rows, head.outputs)

    Returns:
        The outputs, differentiable in the parameters and in the inputs.

    Raises:
        ShapeError: if there are no parameters or networks, parameters or buffers disagree about M,
            or the batch does not fit the model.
    """
    stacked = {**parameters, **(buffers or {})}
    networks = {name: value.shape[0] if value.dim() else 0 for name, value in stacked.items()}
    if not parameters or len(set(networks.values())) != 1 or 0 in networks.values():
        msg = f"stacked_outputs: numbers of networks {networks}; needed: all the same, at least 1"
        raise ShapeError(msg)
    if parameters.keys() <= _plain_parameters(model):
        if isinstance(model, MLP):
            return _mlp_outputs(model, parameters, batch)
        if isinstance(model, PFN):
            return _pfn_outputs(model, parameters, batch)
    if buffers is None and model.training:
        stacked |= _repeated(model, networks=len(next(iter(parameters.values()))))
    # torch replaces parameters in place for the time of the call: those of a copy, which other
    # threads do not see. The copy has the same tensors.
    same = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    raw = _RawOutputs(copy.deepcopy(model, same))

    def one(values: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = functional_call(raw, values, (batch,))
        return outputs

    prefixed = {f"model.{name}": value for name, value in stacked.items()}
    outputs: Tensor = vmap(one, randomness="different")(prefixed)
    return outputs


class _RawOutputs(nn.Module):
    """Makes ``outputs`` the call of a module, in which torch can replace parameters."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return self.model.outputs(batch)


def _repeated(model: Model, *, networks: int) -> dict[str, Tensor]:
    """Return copies of the buffers for each network, to be changed in place."""
    return {
        name: value.expand(networks, *value.shape).clone() for name, value in model.named_buffers()
    }


def _plain_parameters(model: Model) -> set[str]:
    """Return the names of the parameters of a model of plain layers; none of another model."""
    parts = PARTS.get(type(model), ())
    layers = {
        name: layer
        for part in parts
        for name, layer in model.get_submodule(part).named_modules(prefix=part)
    }
    if any(type(layer) not in PLAIN for layer in layers.values()):
        return set()
    names = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


def _mlp_outputs(model: MLP, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
    features = _checked(batch.features, model.features, model, parameters, "features")
    return _layers(model, "network", parameters, features)


def _pfn_outputs(model: PFN, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
    sets = batch.constituents or Ragged.from_rows([])
    values = _checked(sets.values, model.constituents, model, parameters, "constituents")
    networks, width = len(next(iter(parameters.values()))), model.widths["phi"][-1]
    sums = [values.new_zeros(networks, 0, width)]
    jets = Ragged(values, sets.offsets)
    # The latent values of all networks together are to stay in the processor's cache.
    items = max(1, pfn.BLOCK // networks) if values.is_cpu else pfn.BLOCK
    for block in jets.blocks(items):
        part = jets.select(block).packed()
        seen, weights = model.split(part.values)
        latent = _layers(model, "phi", parameters, seen)
        if weights is not None:
            latent = latent * weights
        zeros = latent.new_zeros(*latent.shape[:-2], part.rows, width)
        sums.append(zeros.index_add(-2, part.row_ids(), latent).expand(networks, -1, -1))
    latent = torch.cat(sums, dim=-2)
    if model.features:
        features = _checked(batch.features, model.features, model, parameters, "features")
        latent = torch.cat([latent, features.expand(networks, -1, -1)], dim=-1)
    return _layers(model, "f", parameters, latent)


def _checked(
    values: Tensor | None,
    width: int,
    model: Model,
    parameters: Mapping[str, Tensor],
    what: str,
) -> Tensor:
    """Return the inputs in the dtype of the parameters, once they have the right width."""
    if values is None or values.dim() != 2 or values.shape[1] != width:
        seen = "none" if values is None else f"shape {tuple(values.shape)}"
        msg = f"{type(model).__name__}: {what} of the batch: {seen}; needed: (..., {width})"
        raise ShapeError(msg)
    return values.to(next(iter(parameters.values())).dtype)


def _layers(model: Model, part: str, parameters: Mapping[str, Tensor], values: Tensor) -> Tensor:
    """Apply the layers of a part of the model, (rows, F) or (M, rows, F)."""
    network = model.get_submodule(part)
    if not torch.is_grad_enabled():
        if not isinstance(parameters, FixedParameters):
            parameters = FixedParameters(parameters)
        return parameters.layers(network, prefix=part)(values)
    layers = dict(network.named_modules(prefix=part))
    own = {
        f"{name}.{kind}": parameters[f"{name}.{kind}"]
        for name in layers
        for kind in ("weight", "bias")
        if f"{name}.{kind}" in parameters
    }
    networks = len(next(iter(parameters.values())))
    together = _together(layers, values, networks)
    if together == networks or not own:
        return _applied(layers, own, values)
    chunks = zip(*(chunked(value, together) for value in own.values()), strict=True)
    inputs = chunked(values.expand(networks, *values.shape[-2:]), together)
    outputs = [
        _applied(layers, dict(zip(own, chunk, strict=True)), block)
        for chunk, block in zip(chunks, inputs, strict=True)
    ]
    join = torch.stack if together == 1 else torch.cat
    if outputs[0].shape[-1] >= NARROW:
        return join(outputs)
    return join([output.mT for output in outputs]).mT  # as narrow products are


def _together(layers: Mapping[str, nn.Module], values: Tensor, networks: int) -> int:
    """Return how many networks to evaluate at a time."""
    if not values.is_cpu:
        return networks
    widest = max(layer.out_features for layer in layers.values() if isinstance(layer, nn.Linear))
    return at_a_time(networks, values.shape[-2] * widest, CACHED)


def _applied(
    layers: Mapping[str, nn.Module], parameters: Mapping[str, Tensor], values: Tensor
) -> Tensor:
    """Apply the layers in order with these parameters in place of their own."""
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            weight = parameters.get(f"{name}.weight", layer.weight)
            values = _linear(values, weight, parameters.get(f"{name}.bias", layer.bias))
        elif not isinstance(layer, nn.Sequential):
            values = layer(values)
    return values


def _linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear layer; each argument is of one network, of many or common to them."""
    if values.dim() == weight.dim() == 2 and (bias is None or bias.dim() == 1):
        return linear(values, weight, bias)
    if bias is not None and bias.dim() == 2:
        bias = bias.unsqueeze(1)
    if weight.dim() == 3 and bias is not None:
        stacked = values.expand(len(weight), *values.shape[-2:])
        return torch.baddbmm(bias, stacked, weight.mT)
    if weight.dim() == 3:
        return values @ weight.mT
    product = functional.linear(values, weight)
    return product if bias is None else product + bias
