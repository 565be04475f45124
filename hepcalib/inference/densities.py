"""Predicted densities themselves, for figures and for tests of the likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from hepcalib.calibration import uncertainty
from hepcalib.exceptions import ConfigError
from hepcalib.inference.handles import RUNNING, resident
from hepcalib.inference.prediction import placed
from hepcalib.models import LogNormalHead, LogNormalMixtureHead
from hepcalib.models.components import components
from hepcalib.settings import own_settings
from hepcalib.training.devices import thread_count

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.inference.handles import Handle

__all__ = ["Mixtures", "mixtures"]

_BLOCK = 4096  # objects at a time


class Mixtures(NamedTuple):
    """Predicted densities: weights, means and standard deviations of normal components.

    They are components of the trained variable, or of its natural logarithm if `logarithmic`.
    """

    weights: NDArray[np.float64]  # (rows, components)
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    logarithmic: bool


@own_settings()
def mixtures(
    bundle: Bundle | Handle | Path | str,
    columns: Any,
    *,
    device: str = "auto",
    threads: int | None = None,
    where: str = "",
) -> Mixtures:
    """Return the predicted density of each object itself: the pooled mixture of all members.

    Args:
        bundle: A loaded bundle of a response model, or where one is.
        columns: Standard columns of clusters or jets (GeV, mm, ns), one object per row.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        threads: CPU threads of this call; None leaves the setting of the process.
        where: What the columns are, such as file and entries; begins the message of an error.

    Returns:
        Weights, means and deviations (rows, components), in the trained variable or, for
        log-normal heads, in its natural logarithm.

    Raises:
        BundleError: if the bundle cannot be read or is not the one of the handle.
        DataError: if a column is missing, an input or a result is not finite.
        ConfigError: if the model is a tagger, or device or threads are not possible.
    """
    loaded = resident(bundle, device=device)
    if loaded.spec.kind != "response":
        msg = f"model '{loaded.spec.name}' is a {loaded.spec.kind}; needed: a response model"
        raise ConfigError(msg)
    with placed(where):
        batch = loaded.inputs.extract(columns)
        with RUNNING, thread_count(threads), torch.inference_mode():
            parts = [
                _mixture(loaded, batch.select(slice(start, start + _BLOCK)))
                for start in range(0, max(1, batch.rows), _BLOCK)
            ]
    logarithmic = isinstance(loaded.model.head, LogNormalHead | LogNormalMixtureHead)
    weights, means, deviations = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Mixtures(weights, means, deviations, logarithmic)


def _mixture(bundle: Bundle, raw: Batch) -> tuple[NDArray[np.float64], ...]:
    device = next(bundle.model.parameters()).device
    members = bundle.model.members(bundle.inputs(raw.to(device)))
    parts = components(uncertainty.pooled(members))
    weights, *moments = (part.double().cpu().numpy() for part in parts)
    return np.exp(weights), *moments
