"""What graph and attention models look at: weights of constituents, distances of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.features.jets import wrapped
from hepcalib.features.table import Table
from hepcalib.inference import resident
from hepcalib.inference.handles import RUNNING
from hepcalib.interpretation.networks import network_of
from hepcalib.settings import own_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.inference import Handle
    from hepcalib.models import Model
    from hepcalib.models.edge_conv import Edges

    Floats = NDArray[np.float64]

__all__ = ["AttentionProfile", "NeighbourDistances", "attention_profile", "neighbour_distances"]

_BLOCK = 20_000  # constituents at a time


class AttentionProfile(NamedTuple):
    """Attention times the number of constituents: 1 if all of a jet get the same.

    Means over jets, with their standard errors; NaN where no jet has such a constituent.
    """

    rank: NDArray[np.int64]  # (ranks,) in transverse momentum, from 1
    by_rank: Floats  # (ranks,)
    by_rank_error: Floats  # (ranks,)
    edges: Floats  # (bins + 1,) distance from the axis of the jet
    by_distance: Floats  # (bins,)
    by_distance_error: Floats  # (bins,)
    jets: int


class NeighbourDistances(NamedTuple):
    """Mean distance in rapidity and azimuth between constituents that exchange messages.

    The errors are those of a mean over jets, found from parts of the sample.
    """

    distance: Floats  # (convolutions,)
    distance_error: Floats  # (convolutions,)
    jets: int


@own_settings()
def attention_profile(
    bundle: Bundle | Handle | Path | str,
    columns: Any,
    *,
    ranks: int = 30,
    edges: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
) -> AttentionProfile:
    """Average the attention that constituents get, by rank and by distance from the axis.

    Each constituent of a jet with n of them counts as n times its attention, averaged over the
    heads. Within a jet the constituents of a bin are averaged first, so that jets count alike.

    Args:
        bundle: A loaded bundle, or where one is, of a model with `attention(batch) -> Ragged`, the
            weights of the constituents of each jet that add up to 1.
        columns: Standard columns of jets with constituents, one jet per row.
        ranks: Number of ranks in transverse momentum.
        edges: Bins of the distance in pseudorapidity and azimuth from the axis of the jet.

    Raises:
        ConfigError: if the model has no attention.
        DataError: if an input is not finite, or no jet has constituents.
    """
    loaded = resident(bundle, device="cpu")
    network = network_of(loaded.model, lambda model: hasattr(model, "attention"), what="attention")
    table = Table(columns, constituents=("pt", "eta", "phi"))
    counts = np.diff(table.offsets)
    if not counts.sum():
        msg = f"none of {table.rows} jets has constituents; needed: at least one"
        raise DataError(msg)
    with RUNNING, torch.inference_mode():
        parts = [_attention(network, batch) for batch in _batches(loaded, columns)]
    share = np.concatenate(parts) * table.per_constituent(counts.astype(np.float64))
    rows = np.repeat(np.arange(table.rows), counts)
    order = np.lexsort((-table["constituents.pt"], rows))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - table.offsets[:-1][rows[order]]
    eta = table["constituents.eta"] - table.per_constituent(table["eta"])
    phi = wrapped(table["constituents.phi"] - table.per_constituent(table["phi"]))
    place = np.searchsorted(np.asarray(edges), np.hypot(eta, phi), side="right") - 1
    by_rank, by_distance = (
        _mean_over_jets(share, rows, bins, size)
        for bins, size in ((rank, ranks), (place, len(edges) - 1))
    )
    at = np.asarray(edges, dtype=np.float64)
    return AttentionProfile(
        np.arange(1, ranks + 1), *by_rank, at, *by_distance, int((counts > 0).sum())
    )


@own_settings()
def neighbour_distances(
    bundle: Bundle | Handle | Path | str, columns: Any, *, parts: int = 20
) -> NeighbourDistances:
    """Average the distance of neighbours in each edge convolution of a ParticleNet.

    The first one looks for neighbours in the plane of the angles; how far apart the neighbours of
    the others are shows what the latent values have brought together.

    Reference: arXiv:1902.08570.

    Args:
        bundle: A loaded bundle, or where one is, of a ParticleNet.
        columns: Standard columns of jets with constituents, one jet per row.
        parts: Parts of the sample for the error, at least 2.

    Raises:
        ConfigError: if the model has no edge convolutions, or there are fewer than two parts.
        DataError: if an input is not finite, or there are fewer jets than parts.
    """
    loaded = resident(bundle, device="cpu")
    network = network_of(loaded.model, _is_graph, what="edge convolutions")
    raw = loaded.inputs.extract(columns)
    if not 2 <= parts <= raw.rows:
        msg = f"parts is {parts}; needed: 2 to the number of jets, {raw.rows}"
        raise ConfigError(msg)
    with RUNNING, torch.inference_mode():
        batches = (raw.select(torch.arange(part, raw.rows, parts)) for part in range(parts))
        sums = np.stack([_summed_distances(network, loaded.inputs(part)) for part in batches])
    total = sums.sum(axis=0)
    mean = np.divide(total[0], total[1], out=np.full(len(total[0]), np.nan), where=total[1] > 0)
    known = sums[(sums[:, 1] > 0).all(axis=1)]
    spread = (known[:, 0] / known[:, 1]).std(axis=0, ddof=1) if len(known) > 1 else mean * np.nan
    return NeighbourDistances(mean, spread / np.sqrt(max(1, len(known))), raw.rows)


def _batches(bundle: Bundle, columns: Any) -> Iterator[Batch]:
    raw = bundle.inputs.extract(columns)
    if raw.constituents is None:
        msg = f"model '{bundle.spec.name}' sees no constituents"
        raise ConfigError(msg)
    for rows in raw.constituents.blocks(_BLOCK):
        yield bundle.inputs(raw.select(rows))


def _attention(network: Model, batch: Batch) -> Floats:
    weights = network.attention(batch).packed().values.double()  # type: ignore[operator]  # `shows` has asked
    found: Floats = weights.reshape(len(weights), -1).mean(dim=1).cpu().numpy()
    return found


def _mean_over_jets(
    share: Floats, rows: NDArray[np.int64], bins: NDArray[np.int64], size: int
) -> tuple[Floats, Floats]:
    """Return, for each bin, mean and standard error over jets of their mean in it."""
    mean, error = np.full((2, size), np.nan)
    for place in range(size):
        chosen = bins == place
        jets, index = np.unique(rows[chosen], return_inverse=True)
        if not len(jets):
            continue
        values = np.bincount(index, weights=share[chosen]) / np.bincount(index)
        mean[place] = values.mean()
        if len(jets) > 1:
            error[place] = values.std(ddof=1) / np.sqrt(len(jets))
    return mean, error


def _summed_distances(network: Model, batch: Batch) -> Floats:
    """Return sum and number of the distances in each convolution: (2, convolutions)."""
    convolutions = list(cast("nn.ModuleList", network.convolutions))
    sums, angles = np.zeros((2, len(convolutions))), torch.empty(0, 2)

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal angles
        angles = given[0][:, :2]

    def add(convolution: nn.Module, given: tuple[Tensor, Edges]) -> None:
        distance = given[1].sum(angles, -angles).norm(dim=1)
        sums[:, convolutions.index(convolution)] += distance.double().sum().item(), len(distance)

    normalisation = cast("nn.Module", network.normalisation)
    hooks = [normalisation.register_forward_pre_hook(keep)]
    hooks += [convolution.register_forward_pre_hook(add) for convolution in convolutions]
    try:
        network.outputs(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return sums


def _is_graph(model: Model) -> bool:
    return hasattr(model, "convolutions") and hasattr(model, "normalisation")
