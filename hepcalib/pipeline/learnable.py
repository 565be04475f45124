"""Objects to learn from: which of a dataset are usable, their targets and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import awkward as ak
import numpy as np

from hepcalib import calibration, ntuples
from hepcalib.decorrelation import planing_weights
from hepcalib.exceptions import TrainingError
from hepcalib.features import Inputs
from hepcalib.ntuples import quantities
from hepcalib.pipeline.inputs import dataset_files, dataset_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Decorrelator
    from hepcalib.config.schema import ModelConfig

__all__ = [
    "Learnable",
    "flat_weights",
    "learnable",
    "needed_columns",
    "part_mask",
    "quantity",
    "ranges",
    "selection",
    "shuffled",
    "unfitted_inputs",
    "validation_mask",
    "within_ranges",
]

_WANTED = {
    "response": "they need a positive measured value, and a positive true one",
    "tagger": "they need the label 0 or that of the signal, and to be in pt_range and mass_range",
}


class Learnable(NamedTuple):
    """Objects and what is to be learnt of them, row by row."""

    objects: ak.Array
    target: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    nuisance: NDArray[np.float32] | None
    background: NDArray[np.bool_] | None
    auxiliary: NDArray[np.float32] | None
    identity: NDArray[np.int64]


def unfitted_inputs(config: ModelConfig) -> Inputs:
    """Return the inputs of a model, before they have seen a sample.

    Raises:
        ConfigError: if a feature is unknown or of something else.
    """
    return Inputs(features=config.inputs.features, constituents=config.inputs.constituents)


def needed_columns(config: ModelConfig) -> set[str]:
    """Return the standard columns that a training reads."""
    needed = unfitted_inputs(config).needs | {"event"}
    if config.kind == "tagger":
        needed |= {"label"}
    else:
        needed |= {
            *quantities.measured_columns(config.object, quantity(config)),
            *quantities.true_columns(config.object, quantity(config)),
        }
    needed |= set(ranges(config))
    if config.planing is not None:
        needed |= set(config.planing.variables)
    needed |= set(config.nuisances)
    if config.penalty is not None:
        needed |= set(config.penalty.auxiliary)
    return needed | {"none": set(), "event": {"weight"}, "flat_pt": {"pt"}}[config.weights]


def ranges(config: ModelConfig | Decorrelator) -> dict[str, tuple[float, float]]:
    """Return the range [GeV] of each column that objects are selected by."""
    given = {"pt": config.pt_range, "softdrop_mass": config.mass_range}
    return {column: limits for column, limits in given.items() if limits is not None}


def within_ranges(objects: ak.Array, config: ModelConfig | Decorrelator) -> NDArray[np.bool_]:
    """Tell which objects (rows,) are in all ranges; the low ends belong to them."""
    inside = np.ones(len(objects), dtype=bool)
    for column, (low, high) in ranges(config).items():
        values = _floats(objects, column)
        inside &= (values >= low) & (values < high)
    return inside


def learnable(loaded: Loaded, config: ModelConfig) -> Learnable:
    """Return the objects of a model's datasets that it can learn from.

    Raises:
        TrainingError: if there are none.
        NtupleError: if a file cannot be read.
        DataError: if a target is not finite.
    """
    columns = sorted(needed_columns(config))
    parts = [
        ntuples.read(path, dataset_layout(loaded.config, dataset), columns=columns)
        for dataset in config.datasets
        for path in dataset_files(loaded, dataset)
    ]
    flat = [ak.flatten(part, axis=1) if config.object == "jet" else part for part in parts]
    objects = ak.concatenate(flat) if len(flat) > 1 else flat[0]
    found = len(objects)
    objects = objects[selection(objects, config)]
    if len(objects) == 0:
        msg = f"none of {found} {config.object}s can be used: {_WANTED[config.kind]}"
        raise TrainingError(msg)
    if config.kind == "response":
        target = calibration.target(*_values(objects, config), config.target)
        background = None
    else:
        background = _floats(objects, "label") == 0
        target = (~background).astype(np.float64)
    return Learnable(
        objects,
        target.astype(np.float32),
        _weights(objects, config, background),
        _columns(objects, config.nuisances),
        background,
        None if config.penalty is None else _columns(objects, config.penalty.auxiliary),
        np.asarray(ak.to_numpy(objects["event"]), dtype=np.int64),
    )


def validation_mask(identity: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Choose validation events by a hash of their number, so that no event is in both parts.

    Args:
        identity: Event numbers (rows,).
        fraction: Share of the events to choose.
    """
    return np.asarray(_hashed(identity).astype(np.float64) / 2.0**64 < fraction)


def part_mask(identity: NDArray[np.int64], part: int, parts: int) -> NDArray[np.bool_]:
    """Choose the events of one of several parts by a hash of their number.

    Args:
        identity: Event numbers (rows,).
        part: Number of the part, from 1.
        parts: Number of parts.
    """
    place = np.floor(_hashed(identity + 2).astype(np.float64) / 2.0**64 * parts)
    return np.asarray(place.clip(max=parts - 1) == part - 1)


def shuffled(rows: NDArray[np.int64], identity: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows in an order that mixes the datasets; that of fewer rows is the same.

    Args:
        rows: Row numbers (chosen,).
        identity: Event numbers of all rows (rows,).
    """
    return rows[np.argsort(_hashed(identity[rows] + 1), kind="stable")]


def _hashed(identity: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 64 mixed bits of each event number."""
    x = identity.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def flat_weights(
    pt: NDArray[np.float64], background: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Return weights that make the spectrum of each class flat in pt, both with the same sum.

    Flat in the 20 quantile bins of all objects; give a range of pt whose ends are populated.

    Args:
        pt: Transverse momenta (rows,) [GeV].
        background: Which rows are background; None is one class.
    """
    weight = np.zeros(len(pt))
    edges = np.quantile(pt, np.linspace(0.0, 1.0, 21))
    width = np.diff(edges)
    bins = np.clip(np.searchsorted(edges, pt, side="right") - 1, 0, len(width) - 1)
    classes = [np.ones(len(pt), dtype=bool)] if background is None else [background, ~background]
    for members in classes:
        counts = np.bincount(bins[members], minlength=len(width))
        weight[members] = (width / np.maximum(counts, 1))[bins[members]]
        weight[members] /= weight[members].sum()
    return weight


def quantity(config: ModelConfig) -> str:
    """Return what of its object a response model calibrates."""
    return config.quantity or quantities.QUANTITIES[config.object][0]


def _values(
    objects: ak.Array, config: ModelConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the measured and the true value of each object [GeV]."""
    return (
        quantities.measured(objects, config.object, quantity(config)),
        quantities.true(objects, config.object, quantity(config)),
    )


def selection(objects: ak.Array, config: ModelConfig) -> NDArray[np.bool_]:
    """Tell which objects (rows,) a model can learn from."""
    if config.kind == "response":
        measured, true = _values(objects, config)
        selected = ~((true <= 0) | (measured <= 0))  # NaN stays in, to be refused with its place
        if config.object == "jet":
            selected &= np.asarray(ak.to_numpy(objects["matched"]), dtype=bool)
    else:
        label = _floats(objects, "label")
        selected = (label == 0) | (label == config.signal)
    return selected & within_ranges(objects, config)


def _weights(
    objects: ak.Array, config: ModelConfig, background: NDArray[np.bool_] | None
) -> NDArray[np.float32] | None:
    if config.weights == "none" and not config.spectrum_power and config.planing is None:
        return None
    weight = _floats(objects, "weight") if config.weights == "event" else np.ones(len(objects))
    if config.weights == "flat_pt":
        weight = weight * flat_weights(_floats(objects, "pt"), background)
    if config.spectrum_power:
        weight = weight * _values(objects, config)[1] ** config.spectrum_power
    if config.planing is not None and background is not None:
        weight = planing_weights(
            np.stack([_floats(objects, name) for name in config.planing.variables], axis=1),
            background,
            bins=list(config.planing.variables.values()),
            weight=weight,
            reference=config.planing.reference,
        )
    return np.asarray(weight, dtype=np.float32)


def _floats(objects: ak.Array, column: str) -> NDArray[np.float64]:
    return np.asarray(ak.to_numpy(objects[column]), dtype=np.float64)


def _columns(objects: ak.Array, names: Sequence[str]) -> NDArray[np.float32] | None:
    """Return columns side by side, (rows, names); None for no names."""
    if not names:
        return None
    return np.stack([_floats(objects, name).astype(np.float32) for name in names], axis=1)
