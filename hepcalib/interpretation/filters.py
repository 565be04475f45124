"""What an energy flow network measures: its filters in the plane of rapidity and azimuth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.interpretation.networks import network_of
from hepcalib.settings import own_settings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from hepcalib.bundles import Bundle
    from hepcalib.inference import Handle
    from hepcalib.models import Model

    Floats = NDArray[np.float64]

__all__ = ["Filters", "efn_filters"]


class Filters(NamedTuple):
    """The latent values of a network of angles on a grid, those that are not zero all over."""

    rapidity: Floats  # (points,) relative to the mean of the jet
    azimuth: Floats  # (points,) [rad], likewise
    values: Floats  # (filters, points in rapidity, points in azimuth)
    number: tuple[int, ...]  # of each filter among all
    zero: int  # filters that are zero all over


@own_settings()
def efn_filters(
    source: Model | Bundle | Handle | Path | str, *, extent: float = 0.8, points: int = 81
) -> Filters:
    r"""Evaluate the filters :math:`\Phi_a(y, \phi)` of an energy flow network on a grid.

    The network adds up :math:`O_a = \sum_i z_i \Phi_a(y_i, \phi_i)`: each filter is a picture of
    what one observable weighs the momentum of the constituents with.

    Reference: arXiv:1810.05165.

    Args:
        source: An EFN, a model that wraps one, a loaded bundle of either, or where one is; the
            filters of a Bayesian network are those of its mean weights.
        extent: The grid reaches from -extent to extent in both directions.
        points: Points of the grid in each direction, at least 2.

    Raises:
        ConfigError: if the model has no filters, or the grid is none.
        BundleError: if the bundle cannot be read.
    """
    if not 0.0 < extent < np.inf or points < 2:
        msg = f"extent {extent}, points {points}; needed: positive and finite, at least 2"
        raise ConfigError(msg)
    network = network_of(source, lambda model: hasattr(model, "filters"), what="filters")
    at = np.linspace(-extent, extent, points)
    plane = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    like = next(network.parameters())
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        found = cast("Tensor", network.filters(torch.from_numpy(plane).to(like)))  # type: ignore[operator]  # `shows` has asked
    network.train(was_training)
    values = found.double().cpu().numpy().T.reshape(-1, points, points)
    kept = np.flatnonzero(np.abs(values).max(axis=(1, 2)) > 0.0)
    return Filters(at, at.copy(), values[kept], tuple(kept.tolist()), len(values) - len(kept))
