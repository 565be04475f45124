"""ParticleNet-Lite of the package beside the same network on padded jets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.constituents import sample
from benchmarks.constituents.paths import pad
from hepcalib import features
from hepcalib.models import BernoulliHead, ParticleNetLite

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hepcalib.batch import Batch
    from hepcalib.models.edge_conv import EdgeConv
    from hepcalib.models.normalisation import BatchNorm

INPUTS = tuple(
    f"constituent.{name}"
    for name in (
        "rapidity_offset",
        "azimuth_offset",
        "log_pt",
        "log_energy",
        "log_pt_fraction",
        "log_energy_fraction",
        "delta_r",
    )
)
PADDED_JETS = 64  # in a batch of the padded network
FAR = 1e9  # where padding is put, so that it is nobody's neighbour


def network(*, seed: int = 1) -> ParticleNetLite:
    """Return the network with running means and variances as after a training."""
    torch.manual_seed(seed)
    model = ParticleNetLite(constituents=len(INPUTS), head=BernoulliHead())
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_variance"):
            buffer.uniform_(0.5, 2.0)
    return model.eval()


class PaddedParticleNet(nn.Module):
    """The usual form: convolutions 1 x 1 over (jets, channels, padding, neighbours)."""

    def __init__(self, model: ParticleNetLite) -> None:
        super().__init__()
        self.k, self.f = model.k, model.f
        self.input_norm = _norm(model.normalisation)
        self.blocks = nn.ModuleList(PaddedEdgeConv(block) for block in _convolutions(model))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(jets, padding, features), (jets, padding) -> logits (jets,)."""
        real = mask.unsqueeze(1)
        x = values.transpose(1, 2)
        points = x[:, :2]
        x = self.input_norm(x.unsqueeze(3)).squeeze(3) * real
        for block in self.blocks:
            x = block(points + (1.0 - real) * FAR, x, mask, self.k) * real
            points = x
        pooled = x.sum(2) / mask.sum(1, keepdim=True).clamp(min=1.0)
        logits: Tensor = self.f(pooled).squeeze(1)
        return logits


class PaddedEdgeConv(nn.Module):
    """Gather the neighbours, three convolutions, mean over the real ones, shortcut."""

    def __init__(self, block: EdgeConv) -> None:
        super().__init__()
        own, other = block.of_item.weight.detach(), block.of_neighbour.weight.detach()
        weights = [torch.cat([own + other, other], dim=1)]
        weights += [layer.weight.detach() for layer in _linears(block.linear)]
        self.layers = nn.Sequential()
        for weight, norm in zip(weights, [block.norm, *block.norms], strict=True):
            self.layers.extend([_convolution(weight), _norm(norm), nn.ReLU()])
        self.shortcut = nn.Sequential(
            _convolution(block.shortcut.weight.detach()), _norm(block.shortcut_norm)
        )

    def forward(self, points: Tensor, x: Tensor, mask: Tensor, k: int) -> Tensor:
        with_itself = torch.cdist(points.mT, points.mT).topk(k + 1, largest=False).indices
        index = with_itself[:, :, 1:].flatten(1)
        count = (mask.sum(1).long() - 1).clamp(min=0, max=k)
        there = (torch.arange(k, device=x.device) < count[:, None]).to(x.dtype)[:, None, None]
        jets, channels, padding = x.shape
        neighbours = x.gather(2, index.unsqueeze(1).expand(-1, channels, -1))
        neighbours = neighbours.view(jets, channels, padding, k)
        centre = x.unsqueeze(3).expand_as(neighbours)
        pairs = self.layers(torch.cat([centre, neighbours - centre], dim=1))
        mean = (pairs * there).sum(3) / count.clamp(min=1)[:, None, None]
        return torch.relu(self.shortcut(x.unsqueeze(3)).squeeze(3) + mean)


def batch_of(jets: int) -> Batch:
    """Return the inputs of the network for synthetic jets, transformed."""
    inputs = features.Inputs(constituents=INPUTS)
    raw = inputs.extract(sample.columns(sample.multiplicities(jets)))
    batch: Batch = inputs.fit(raw)(raw)
    return batch


def ours_task(jets: int) -> Callable[[], NDArray[np.float32]]:
    """Return what scores packed jets by the package."""
    model, batch = network(), batch_of(jets)

    def score() -> NDArray[np.float32]:
        with torch.inference_mode():
            return model.outputs(batch).squeeze(1).numpy()

    return score


def padded_task(jets: int) -> Callable[[], NDArray[np.float32]]:
    """Return what pads the same jets and scores them batch by batch."""
    model, batch = PaddedParticleNet(network()).eval(), batch_of(jets)
    assert batch.constituents is not None
    values, counts = batch.constituents.values.numpy(), batch.constituents.counts.numpy()
    edges = np.concatenate([[0], counts.cumsum()])

    def score() -> NDArray[np.float32]:
        found = []
        with torch.inference_mode():
            for start in range(0, jets, PADDED_JETS):
                stop = min(start + PADDED_JETS, jets)
                padded = pad(values[edges[start] : edges[stop]], counts[start:stop])
                found.append(model(*map(torch.from_numpy, padded)).numpy())
        return np.concatenate(found)

    return score


def _convolutions(model: ParticleNetLite) -> list[Any]:
    return list(model.convolutions)


def _linears(layers: Any) -> list[nn.Linear]:
    return list(layers)


def _convolution(weight: Tensor) -> nn.Conv2d:
    found = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
    found.weight.data = weight[:, :, None, None].clone()
    return found


def _norm(norm: Any) -> nn.BatchNorm2d:
    ours: BatchNorm = norm
    found = nn.BatchNorm2d(len(ours.running_mean), eps=ours.epsilon)
    found.weight.data, found.bias.data = ours.weight.detach(), ours.bias.detach()
    found.running_mean, found.running_var = ours.running_mean, ours.running_variance
    return found
