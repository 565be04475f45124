"""Predictions as columns: predict(bundle, columns), in blocks, with one model per process."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from hepcalib.calibration import location, response, uncertainty
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.features.table import Table, objects_per_event
from hepcalib.inference.blocks import block_limit, streamed
from hepcalib.inference.handles import RUNNING, resident
from hepcalib.inference.precision import evaluation
from hepcalib.inference.sharing import Sharing
from hepcalib.ntuples import quantities
from hepcalib.settings import own_settings
from hepcalib.training.devices import thread_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import awkward as ak
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributions import Bernoulli, Distribution

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.inference.handles import Handle
    from hepcalib.inference.precision import Members

__all__ = [
    "RESPONSE_FIELDS",
    "TAGGER_FIELDS",
    "placed",
    "predict",
]

RESPONSE_FIELDS = (
    "response",
    "sigma_stat",
    "sigma_syst",
    "sigma_tot",
    "target_mean",
    "target_sigma_stat",
    "target_sigma_syst",
    "target_sigma_tot",
    "interval_low",
    "interval_high",
    "in_range",
)
TAGGER_FIELDS = ("score", "score_stat", "logit_mean", "logit_stat", "in_range")

# Objects in a block of models without constituents. Measured on one CPU thread: 1000 and 2000 are
# up to 45 and 40 % slower, and more gains nothing.
_BLOCK_OBJECTS = 4_096

# Objects plus constituents whose features are on the host at a time; a GPU takes several blocks of
# them in a turn.
_HOST_LIMIT = 4_194_304


@own_settings()
def predict(
    bundle: Bundle | Handle | Path | str,
    columns: Any,
    *,
    device: str = "auto",
    threads: int | None = None,
    block: int | None = None,
    where: str = "",
    precision: str = "float32",
    compile: bool = False,
    sharing: Sharing = Sharing(),  # noqa: B008 - immutable
) -> ak.Array:
    r"""Apply a trained model to clusters or jets.

    For a response model, with the mixture p(log10 R) of all members (weight draws) and
    R = raw / true:

    .. math:: R = 10^{T[\log_{10} R]}, \quad \sigma_R = \ln 10 \; R \; \sigma_{\log_{10} R}

    where T is the location of the bundle; models of R itself, or of log10 of the true value z with
    R = raw / 10^z, likewise. Per object: `response`, `sigma_stat`, `sigma_syst`, `sigma_tot` (of
    R), `target_mean`, `target_sigma_stat`, `target_sigma_syst`, `target_sigma_tot` (of the trained
    variable), `interval_low`, `interval_high` (68.27 % interval of R) and `in_range`. The
    calibrated energy is raw / response. For a tagger: `score` (mean over the members),
    `score_stat` (their spread), `logit_mean` and `logit_stat` (the same of the logit of the score)
    and `in_range`.

    A result depends neither on the other objects nor on the size of the blocks (to rounding,
    1e-5). A model given as handle or path is loaded once per process and device.

    Reference: arXiv:2412.04370.

    Args:
        bundle: A loaded bundle, or where one is.
        columns: Standard columns of clusters or jets (GeV, mm, ns), one object per row or
            `events * var * {...}`.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        threads: CPU threads of this call; None leaves the setting of the process.
        block: Largest number of objects, for models of constituents plus these, at a time; None
            chooses it. Halved when a GPU runs out of memory.
        where: What the columns are, such as file and entries; begins the message of an error.
        precision: "float32" or "bfloat16", in which products of matrices are faster and have three
            digits.
        compile: Whether to compile the model for this machine, which takes up to minutes once per
            process.
        sharing: How many processes may compute on the same GPU at a time.

    Returns:
        Record array with the structure of `columns`, float64 and bool.

    Raises:
        BundleError: if the bundle cannot be read or is not the one of the handle.
        DataError: if a column is missing, an input or a result is not finite.
        ShapeError: if columns have different lengths.
        ConfigError: if device, threads, block or precision are not possible.
    """
    import awkward as ak

    if block is not None and block < 1:
        msg = f"block is {block}; needed: at least 1"
        raise ConfigError(msg)
    loaded = resident(bundle, device=device)
    members = evaluation(loaded.model, precision=precision, compile=compile)
    with placed(where):
        counts = objects_per_event(columns)
        table, measured = loaded.inputs.table(columns), _measured(loaded, columns)
        with RUNNING, thread_count(threads), torch.inference_mode():
            predicted = _in_blocks(loaded, members, table, measured, block=block, sharing=sharing)
        _require_finite(predicted)
    record = ak.zip(predicted, depth_limit=1)
    return record if counts is None else ak.unflatten(record, counts)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Begin the message of an error with the place of the columns."""
    try:
        yield
    except (DataError, ShapeError) as error:
        if not where:
            raise
        msg = f"{where}: {error}"
        raise type(error)(msg) from error


def _measured(bundle: Bundle, columns: Any) -> Tensor:
    """Return the raw value of each object where the model predicts its true one."""
    if bundle.spec.target != "log10_truth":
        return torch.empty(0, dtype=torch.float64)
    values = quantities.measured(Table(columns), bundle.spec.object, str(bundle.spec.quantity))
    bad = np.flatnonzero(~(values > 0))
    if len(bad):
        msg = (
            f"the measured {bundle.spec.quantity} is not positive for {len(bad)} of {len(values)} "
            f"objects, first in row {bad[0]}: {values[bad[0]]}; model '{bundle.spec.name}' "
            "predicts its true value, from which a response follows for positive ones only"
        )
        raise DataError(msg)
    return torch.from_numpy(values)


def _in_blocks(
    bundle: Bundle,
    members: Members,
    table: Table,
    measured: Tensor,
    *,
    block: int | None,
    sharing: Sharing,
) -> dict[str, NDArray[Any]]:
    """Predict consecutive rows together, as many as the limits allow and at least one.

    Features are computed for as many rows as a GPU takes in a turn; meanwhile it is free.
    """
    names = RESPONSE_FIELDS if bundle.spec.kind == "response" else TAGGER_FIELDS
    parts = [{name: np.empty(0, bool if name == "in_range" else np.float64) for name in names}]
    device = next(bundle.model.parameters()).device
    limit = block or (block_limit(device) if bundle.inputs.constituent_names else _BLOCK_OBJECTS)
    for rows in table.blocks(limit if device.type == "cpu" else max(limit, _HOST_LIMIT)):
        raw = bundle.inputs.extract_rows(table.part(rows), order="F")
        evaluate = functools.partial(_predicted, bundle, members, measured=measured[rows])
        with sharing.turn(device):
            parts.append(streamed(evaluate, raw, device=device, limit=limit))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _predicted(
    bundle: Bundle, members: Members, raw: Batch, rows: slice, *, measured: Tensor
) -> dict[str, Tensor]:
    # First of all: what counts objects outside makes the host wait, but not for the model.
    in_range = bundle.inputs.in_range(raw)
    found = members(bundle.inputs(raw))
    fields = (
        _response(bundle, found, measured[rows].to(in_range.device))
        if bundle.spec.kind == "response"
        else _score(found)
    )
    return {**fields, "in_range": in_range}


def _response(bundle: Bundle, members: Distribution, measured: Tensor) -> dict[str, Tensor]:
    pooled, found = uncertainty.pooled(members), uncertainty.decompose(members)
    middle, low, high = location.quantiles(pooled, [0.5, *bundle.model.interval(members)]).double()
    is_median = bundle.spec.location == "median"
    centre = middle if is_median else getattr(location, bundle.spec.location)(pooled).double()
    sigmas = {"stat": found.statistical, "syst": found.systematic, "tot": found.total}
    ratio, *ends = (
        response.to_response(value, measured, bundle.spec.target) for value in (centre, low, high)
    )
    slope = torch.ones_like(ratio)
    if bundle.spec.target != "response":
        slope = response.sigma_response(ratio, slope)
    return {
        "response": ratio,
        "target_mean": found.mean.double(),
        **{f"sigma_{k}": slope * sigma.double() for k, sigma in sigmas.items()},
        **{f"target_sigma_{k}": sigma.double() for k, sigma in sigmas.items()},
        "interval_low": torch.minimum(*ends),
        "interval_high": torch.maximum(*ends),
    }


def _score(members: Distribution) -> dict[str, Tensor]:
    scores, logits = members.mean.double(), cast("Bernoulli", members).logits.double()
    return {
        "score": scores.mean(dim=0),
        "score_stat": scores.std(dim=0, correction=0),
        "logit_mean": logits.mean(dim=0),
        "logit_stat": logits.std(dim=0, correction=0),
    }


def _require_finite(predicted: dict[str, NDArray[Any]]) -> None:
    for name, values in predicted.items():
        usable = np.isfinite(values) & ((values > 0) | (name != "response"))
        bad = np.flatnonzero(~usable)
        if len(bad):
            kind = "positive and finite" if name == "response" else "finite"
            msg = (
                f"predicted {name} is not {kind} for {len(bad)} of {len(values)} objects, first in "
                f"row {bad[0]}: {values[bad[0]]}; its inputs are too far from the training sample"
            )
            raise DataError(msg)
