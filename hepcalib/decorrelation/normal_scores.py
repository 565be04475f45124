"""Scores as normal variables, and quantiles of them that rise by construction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch.nn import functional

from hepcalib.calibration.sample_location import sample_quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

__all__ = ["BOUND", "equidistant", "normal_nodes", "normal_scores", "ordered"]

BOUND = 5.0  # standard deviations that the table reaches to
_NODES = 2001


def normal_nodes(score: Floats, weight: Floats) -> Floats:
    """Return the scores of background at equidistant normal values.

    Shapes:
        score, weight: (rows,) -> (nodes,)
    """
    return sample_quantiles(score, ndtr(_grid()), weight=weight)


def normal_scores(score: Floats, nodes: Floats) -> Floats:
    """Return normal values of scores, in straight lines beyond the nodes.

    Equal nodes share the middle of their values.

    Shapes:
        score: (rows,); nodes: what `normal_nodes` returned -> (rows,)
    """
    unique, first, counts = np.unique(nodes, return_index=True, return_counts=True)
    grid = _grid()
    at = 0.5 * (grid[first] + grid[first + counts - 1])
    beyond = score - np.clip(score, unique[0], unique[-1])
    slope = (at[-1] - at[0]) / (unique[-1] - unique[0])
    return np.asarray(np.interp(score, unique, at) + slope * beyond)


def equidistant(quantiles: int) -> Floats:
    """Return normal values of so many quantiles, symmetric around 0."""
    end = float(-ndtri(0.5 / quantiles**1.5))
    return np.linspace(-end, end, quantiles)


def ordered(raw: Tensor, at: Tensor) -> Tensor:
    """Return rising quantiles; at 0 outputs they are those of a standard normal score.

    Shapes:
        raw: (rows, quantiles); at: (quantiles,) normal values -> (rows, quantiles)
    """
    first = at[0] + raw[:, :1]
    unit = math.log(math.e - 1.0)  # softplus of which is 1
    steps = at.diff() * functional.softplus(raw[:, 1:] + unit)
    return torch.cat([first, first + steps.cumsum(1)], dim=1)


def _grid() -> Floats:
    return np.linspace(-BOUND, BOUND, _NODES)
