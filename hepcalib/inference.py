"""Predictions as columns: predict(bundle, columns), in blocks, with one model per process."""

from __future__ import annotations

import copy
import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hepcalib import bundles
from hepcalib.bundles import Bundle
from hepcalib.calibration import location, response, uncertainty
from hepcalib.exceptions import BundleError, ConfigError, DataError, ShapeError
from hepcalib.features.table import objects_per_event
from hepcalib.training.devices import resolve_device, set_threads, thread_count

if TYPE_CHECKING:
    from typing import Self

    import awkward as ak
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch

__all__ = ["RESPONSE_FIELDS", "TAGGER_FIELDS", "Handle", "loads", "predict", "set_threads"]

RESPONSE_FIELDS = (
    "response",
    "sigma_stat",
    "sigma_syst",
    "sigma_tot",
    "mean_log10",
    "sigma_log10_stat",
    "sigma_log10_syst",
    "sigma_log10_tot",
    "in_range",
)
TAGGER_FIELDS = ("score", "score_stat", "in_range")

# Objects in a block, and objects plus constituents in one of a set model, which divides it further.
# Measured on one CPU thread: 1000 and 2000 are up to 45 and 40 % slower, and more gains nothing.
_BLOCK_OBJECTS, _BLOCK_CONSTITUENTS = 4_096, 100_000

# One thread at a time loads a model, and one uses it: weight draws are set on its layers.
_LOADING, _RUNNING = threading.Lock(), threading.Lock()


@dataclass(frozen=True)
class Handle:
    """Where a bundle is and which one it must be: all a worker needs, picklable and small."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """Return the handle of the bundle that is at this path now.

        Raises:
            BundleError: if bundle.json is missing, damaged or of another version.
        """
        return cls(path=str(Path(path).absolute()), sha256=bundles.sha256_of(path))


def predict(
    bundle: Bundle | Handle | Path | str,
    columns: Any,
    *,
    device: str = "auto",
    threads: int | None = None,
    block: int | None = None,
    where: str = "",
) -> ak.Array:
    r"""Apply a trained model to clusters or jets.

    For a response model, with the mixture p(log10 R) of all members (weight draws) and
    R = raw / true:

    .. math:: R = 10^{T[\log_{10} R]}, \quad \sigma_R = \ln 10 \; R \; \sigma_{\log_{10} R}

    where T is the location of the bundle (median, mean or mode). Per object: `response`,
    `sigma_stat`, `sigma_syst`, `sigma_tot` (of R), `mean_log10`, `sigma_log10_stat`,
    `sigma_log10_syst`, `sigma_log10_tot` and `in_range`. The calibrated energy is raw / response.
    For a tagger: `score` (mean over the members), `score_stat` (their spread) and `in_range`.

    A result depends neither on the other objects nor on the size of the blocks (to rounding,
    1e-5). A model given as handle or path is loaded once per process and device.

    Reference: arXiv:2412.04370.

    Args:
        bundle: A loaded bundle, or where one is.
        columns: Standard columns of clusters or jets (GeV, mm, ns), one object per row or
            `events * var * {...}`.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        threads: CPU threads of this call; None leaves the setting of the process.
        block: Largest number of objects, for set models plus their constituents, at a time; None
            for 4096 and 100,000. Halved when a GPU runs out of memory.
        where: What the columns are, such as file and entries; begins the message of an error.

    Returns:
        Record array with the structure of `columns`, float64 and bool.

    Raises:
        BundleError: if the bundle cannot be read or is not the one of the handle.
        DataError: if a column is missing, an input or a result is not finite.
        ShapeError: if columns have different lengths.
        ConfigError: if device, threads or block are not possible.
    """
    import awkward as ak

    if block is not None and block < 1:
        msg = f"block is {block}; needed: at least 1"
        raise ConfigError(msg)
    loaded = _resident(bundle, resolve_device(device))
    try:
        counts = objects_per_event(columns)
        batch = loaded.inputs.extract(columns)
        with _RUNNING, thread_count(threads), torch.inference_mode():
            predicted = _in_blocks(loaded, batch, block)
        _require_finite(predicted)
    except (DataError, ShapeError) as error:
        if not where:
            raise
        msg = f"{where}: {error}"
        raise type(error)(msg) from error
    record = ak.zip(predicted, depth_limit=1)
    return record if counts is None else ak.unflatten(record, counts)


def loads() -> int:
    """Return how many bundles this process has loaded for handles and paths."""
    return _loaded.cache_info().misses


@functools.cache
def _loaded(handle: Handle, device: str) -> Bundle:
    bundle = bundles.load(handle.path)
    if bundle.sha256 != handle.sha256:
        msg = (
            f"{handle.path}: the bundle has sha256 {bundle.sha256}, {handle.sha256} was asked for; "
            "it was replaced meanwhile"
        )
        raise BundleError(msg)
    return _moved(bundle, torch.device(device))


def _resident(bundle: Bundle | Handle | Path | str, device: torch.device) -> Bundle:
    if isinstance(bundle, Bundle):
        is_there = next(bundle.model.parameters()).device.type == device.type
        return bundle if is_there else _moved(copy.deepcopy(bundle), device)
    handle = bundle if isinstance(bundle, Handle) else Handle.of(bundle)
    with _LOADING:
        return _loaded(handle, str(device))


def _moved(bundle: Bundle, device: torch.device) -> Bundle:
    return replace(bundle, model=bundle.model.to(device), inputs=bundle.inputs.to(device))


def _in_blocks(bundle: Bundle, batch: Batch, block: int | None) -> dict[str, NDArray[Any]]:
    """Predict consecutive rows together, as many as the limit allows and at least one."""
    names = RESPONSE_FIELDS if bundle.spec.kind == "response" else TAGGER_FIELDS
    edges, limit = torch.arange(batch.rows + 1), block or _BLOCK_OBJECTS
    if batch.constituents is not None:
        edges, limit = edges + batch.constituents.offsets, block or _BLOCK_CONSTITUENTS
    parts: list[dict[str, Tensor]] = []
    start = 0
    while start < batch.rows:
        end = int(torch.searchsorted(edges, edges[start] + limit, right=True)) - 1
        stop = max(end, start + 1)
        try:
            parts.append(_predicted(bundle, batch.select(slice(start, stop))))
        except torch.OutOfMemoryError:
            if stop == start + 1:
                raise
            limit = int(edges[stop] - edges[start]) // 2
            torch.cuda.empty_cache()
            continue
        start = stop
    empty = {name: np.empty(0, dtype=bool if name == "in_range" else np.float64) for name in names}
    return {
        name: np.concatenate([empty[name], *(part[name].cpu().numpy() for part in parts)])
        for name in names
    }


def _predicted(bundle: Bundle, raw: Batch) -> dict[str, Tensor]:
    raw = raw.to(next(bundle.model.parameters()).device)
    members = bundle.model.head(bundle.model.member_outputs(bundle.inputs(raw)))
    fields = (
        _response(members, bundle.spec.location)
        if bundle.spec.kind == "response"
        else _score(members)
    )
    return {**fields, "in_range": bundle.inputs.in_range(raw)}


def _response(members: Distribution, statistic: str) -> dict[str, Tensor]:
    found = uncertainty.decompose(members)
    sigmas = {
        "stat": found.statistical.double(),
        "syst": found.systematic.double(),
        "tot": found.total.double(),
    }
    centre = getattr(location, statistic)(uncertainty.pooled(members)).double()
    ratio = 10.0**centre
    return {
        "response": ratio,
        "mean_log10": found.mean.double(),
        **{f"sigma_{k}": response.sigma_response(ratio, sigma) for k, sigma in sigmas.items()},
        **{f"sigma_log10_{k}": sigma for k, sigma in sigmas.items()},
    }


def _score(members: Distribution) -> dict[str, Tensor]:
    scores = members.mean.double()
    return {"score": scores.mean(dim=0), "score_stat": scores.std(dim=0, correction=0)}


def _require_finite(predicted: dict[str, NDArray[Any]]) -> None:
    for name, values in predicted.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            msg = (
                f"predicted {name} is not finite for {len(bad)} of {len(values)} objects, first in "
                f"row {bad[0]}: {values[bad[0]]}; its inputs are too far from the training sample"
            )
            raise DataError(msg)
