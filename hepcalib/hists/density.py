"""Histograms of log10 R in bins of energy: the data, and what a density says they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np
from scipy.special import ndtr

from hepcalib.exceptions import DataError, ShapeError, suggestion
from hepcalib.hists.axes import Floats, category_axis, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = ["density", "fill_density", "fill_predicted_density", "interval_probabilities"]

_LOG_RESPONSE = r"$\log_{10} R_\mathrm{EM}$"


def density(
    *, energies: Sequence[float] = (0.3, 1.0, 3.0, 10.0, 50.0, 2000.0), components: int = 3
) -> Hist[Any]:
    """Return the empty histogram of log10 R, true and as predicted, in bins of the energy.

    Args:
        energies: Edges of the bins of the EM energy [GeV].
        components: Number of components of the predicted mixture.

    Returns:
        Axes kind (data, predicted, component 1, ...), energy, log_response (100 bins, -1 to 1).
    """
    kinds = ("data", "predicted", *(f"component {k + 1}" for k in range(components)))
    energy = hist.axis.Variable(
        energies, name="energy", label=r"$E_\mathrm{EM}$ [GeV]", metadata="log"
    )
    axis = hist.axis.Regular(100, -1.0, 1.0, name="log_response", label=_LOG_RESPONSE)
    return histogram(category_axis("kind", kinds, label="Density"), energy, axis)


def fill_density(
    histogram: Hist[Any],
    *,
    energy: ArrayLike,
    log_response: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the true log10 R (rows,) of clusters of an EM energy [GeV] (rows,), the kind data.

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"energy": energy, "log_response": log_response}
    fill(histogram, weight, categories={"kind": "data"}, values=columns)


def interval_probabilities(
    edges: ArrayLike, *, weights: ArrayLike, means: ArrayLike, deviations: ArrayLike
) -> Floats:
    r"""Probabilities that a mixture of normals gives to bins, one row at a time.

    .. math:: P_b = \sum_k \alpha_k [\Phi((e_{b+1} - \mu_k) / \sigma_k)
              - \Phi((e_b - \mu_k) / \sigma_k)]

    Args:
        edges: Edges of the bins (bins + 1,).
        weights: Weights of the components (rows, components).
        means: Their means (rows, components).
        deviations: Their standard deviations (rows, components).

    Returns:
        Probabilities (rows, bins).

    Raises:
        ShapeError: if the components have different shapes.
    """
    alpha, mu, sigma = (np.asarray(x, dtype=np.float64) for x in (weights, means, deviations))
    if not alpha.shape == mu.shape == sigma.shape or alpha.ndim != 2:
        msg = f"components must be (rows, components), got {alpha.shape}, {mu.shape}, {sigma.shape}"
        raise ShapeError(msg)
    at = np.asarray(edges, dtype=np.float64)
    below = np.zeros((len(alpha), at.size))
    for a, m, s in zip(alpha.T, mu.T, sigma.T, strict=True):
        below += a[:, None] * ndtr((at - m[:, None]) / s[:, None])
    return np.diff(below, axis=1)


def fill_predicted_density(
    histogram: Hist[Any],
    *,
    kind: str,
    energy: ArrayLike,
    probabilities: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Add predicted probabilities: what a density says that the clusters fill, without drawing.

    What a row gives to no bin goes to the overflow of the kind predicted, so that its integral is
    the number of rows.

    Args:
        histogram: What `density` returned; changed in place.
        kind: predicted or one of its components.
        energy: EM energy [GeV] (rows,).
        probabilities: Of each bin of log10 R (rows, bins); those of the components include their
            weights and add up to those of predicted.
        weight: Event weights (rows,).

    Raises:
        DataError: if the kind is unknown or data, or a value is not finite.
        ShapeError: if the shapes do not fit.
    """
    kinds = [str(known) for known in histogram.axes["kind"]]
    if kind not in kinds[1:]:
        msg = f"no prediction is called {kind!r}. {suggestion(kind, kinds[1:])}"
        raise DataError(msg)
    energies, p = np.asarray(energy, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    w = np.ones(energies.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    bins = histogram.axes["log_response"].size
    if energies.ndim != 1 or w.shape != energies.shape or p.shape != (energies.size, bins):
        msg = (
            f"needed: energy and weight (rows,) and probabilities (rows, {bins}), got "
            f"{energies.shape}, {w.shape} and {p.shape}."
        )
        raise ShapeError(msg)
    if np.isnan(energies).any() or not (np.isfinite(p).all() and np.isfinite(w).all()):
        msg = f"{kind}: an energy is NaN, or a probability or a weight is not finite."
        raise DataError(msg)
    lost = np.clip(1.0 - p.sum(axis=1), 0.0, None) if kind == "predicted" else np.zeros(len(p))
    weighted = w[:, None] * np.column_stack([np.zeros(len(p)), p, lost])
    places = np.searchsorted(np.asarray(histogram.axes["energy"].edges), energies, side="right")
    view: Any = histogram.view(flow=True)
    for place in np.unique(places):
        rows = weighted[places == place]
        view["value"][kinds.index(kind), place] += rows.sum(axis=0)
        view["variance"][kinds.index(kind), place] += (rows**2).sum(axis=0)
