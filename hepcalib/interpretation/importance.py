"""Which inputs a model uses: what it loses when one of them is permuted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from hepcalib.calibration import uncertainty
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.inference import resident
from hepcalib.inference.handles import RUNNING
from hepcalib.settings import own_settings
from hepcalib.training.devices import thread_count

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.inference import Handle
    from hepcalib.ragged import Ragged

    Floats = NDArray[np.float64]

__all__ = ["Importance", "permutation_importance"]

_BLOCK_OBJECTS, _BLOCK_CONSTITUENTS = 4096, 100_000


class Importance(NamedTuple):
    """How much worse a model is without the information of each input; larger is more important.

    The errors are those of the mean over the permutations of this one sample.
    """

    inputs: tuple[str, ...]
    loss: float  # of the model as it is: mean of -ln p(target)
    loss_increase: Floats  # (inputs,)
    loss_increase_error: Floats  # (inputs,)
    auc: float  # NaN for a response model
    auc_drop: Floats  # (inputs,)
    auc_drop_error: Floats  # (inputs,)
    repetitions: int


@own_settings()
def permutation_importance(
    bundle: Bundle | Handle | Path | str,
    columns: Any,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    repetitions: int = 5,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
) -> Importance:
    """Permute one input after the other and see what is lost; the model is not trained again.

    A feature of the object is permuted over the objects, one of the constituents over all
    constituents of the sample. Inputs that say the same share their importance: each of them can be
    missed. A permuted input may go with others as no jet has them.

    Reference: arXiv:1801.01489.

    Args:
        bundle: A loaded bundle, or where one is.
        columns: Standard columns of clusters or jets (GeV, mm, ns), one object per row.
        target: What the model was trained for (rows,): 1 for signal and 0 for background, or the
            target of a response model, such as log10 R.
        weight: Event weights (rows,), not negative.
        repetitions: Permutations of each input, at least 2.
        seed: Seed of the permutations.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        threads: CPU threads of this call; None leaves the setting of the process.

    Raises:
        ConfigError: if there are fewer than two repetitions.
        ShapeError: if target or weight have another length than the columns.
        DataError: if a target is not finite, weights do not have a positive sum, or an input is not
            finite.
    """
    if repetitions < 2:
        msg = f"repetitions is {repetitions}; needed: at least 2, for an error"
        raise ConfigError(msg)
    loaded = resident(bundle, device=device)
    raw = loaded.inputs.extract(columns)
    truth = _column(target, raw.rows, "target")
    weights = np.ones(raw.rows) if weight is None else _column(weight, raw.rows, "weight")
    if weights.min(initial=0.0) < 0.0 or not weights.sum() > 0.0:
        msg = f"weights from {weights.min(initial=0.0)} to {weights.max(initial=0.0)}; needed: >= 0"
        raise DataError(msg)
    with RUNNING, thread_count(threads), torch.inference_mode():
        first = _merit(loaded, raw, truth, weights)
        changes = np.stack(
            [
                _merit(loaded, _permuted(loaded, raw, place, (seed, place, n)), truth, weights)
                - first
                for place in range(len(_names(loaded)))
                for n in range(repetitions)
            ]
        ).reshape(-1, repetitions, 2)
    mean = changes.mean(axis=1)
    error = changes.std(axis=1, ddof=1) / np.sqrt(repetitions)
    return Importance(
        inputs=_names(loaded),
        loss=float(first[0]),
        loss_increase=mean[:, 0],
        loss_increase_error=error[:, 0],
        auc=float(first[1]),
        auc_drop=-mean[:, 1],
        auc_drop_error=error[:, 1],
        repetitions=repetitions,
    )


def _names(bundle: Bundle) -> tuple[str, ...]:
    return (*bundle.inputs.names, *bundle.inputs.constituent_names)


def _column(values: ArrayLike, rows: int, name: str) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (rows,):
        msg = f"{name} of shape {column.shape} for {rows} objects; needed: ({rows},)"
        raise ShapeError(msg)
    bad = np.flatnonzero(~np.isfinite(column))
    if len(bad):
        msg = f"{name} of row {bad[0]} is {column[bad[0]]}; needed: a finite number"
        raise DataError(msg)
    return column


def _permuted(bundle: Bundle, raw: Batch, place: int, key: tuple[int, ...]) -> Batch:
    """Return the batch with one column permuted over the objects, or over the constituents."""
    random = np.random.default_rng(np.random.SeedSequence(key))
    own = len(bundle.inputs.names)
    if raw.features is not None and place < own:
        return raw._replace(features=_mixed(raw.features, place, random))
    constituents = cast("Ragged", raw.constituents)
    return raw._replace(constituents=constituents.map(lambda v: _mixed(v, place - own, random)))


def _mixed(values: Tensor, column: int, random: np.random.Generator) -> Tensor:
    order = torch.from_numpy(random.permutation(len(values))).to(values.device)
    mixed = values.clone()
    mixed[:, column] = values[order, column]
    return mixed


def _merit(bundle: Bundle, raw: Batch, truth: Floats, weights: Floats) -> Floats:
    """Return the mean loss of the pooled prediction, and the area under the ROC curve."""
    device = next(bundle.model.parameters()).device
    parts = []
    for rows in _blocks(raw):
        members = bundle.model.members(bundle.inputs(raw.select(rows).to(device)))
        target = torch.from_numpy(truth[rows]).to(device)
        if bundle.spec.kind == "tagger":
            parts.append(members.mean.double().mean(dim=0).cpu().numpy())
        else:
            pooled = uncertainty.pooled(members)
            likelihood: Tensor = pooled.log_prob(target.to(members.mean.dtype))  # type: ignore[no-untyped-call]  # torch does not annotate it
            parts.append(-likelihood.double().cpu().numpy())
    values = np.concatenate(parts)
    if bundle.spec.kind != "tagger":
        return np.array([np.average(values, weights=weights), np.nan])
    score = values.clip(np.finfo(np.float32).tiny, 1.0 - np.finfo(np.float64).epsneg)
    loss = -(truth * np.log(score) + (1.0 - truth) * np.log1p(-score))
    return np.array([np.average(loss, weights=weights), _auc(values, truth, weights)])


def _blocks(raw: Batch) -> list[slice]:
    if raw.constituents is not None:
        return raw.constituents.blocks(_BLOCK_CONSTITUENTS)
    return [slice(n, n + _BLOCK_OBJECTS) for n in range(0, raw.rows, _BLOCK_OBJECTS)]


def _auc(score: Floats, truth: Floats, weights: Floats) -> float:
    """Return the probability that signal scores above background, ties half; NaN without one."""
    _, place = np.unique(score, return_inverse=True)
    signal = np.bincount(place, weights=weights * truth)
    background = np.bincount(place, weights=weights * (1.0 - truth))
    below = np.cumsum(background) - 0.5 * background
    pairs = signal.sum() * background.sum()
    return float(signal @ below / pairs) if pairs > 0.0 else float("nan")
