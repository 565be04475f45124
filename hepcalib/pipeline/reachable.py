"""Whether there is enough to learn from, as far as that can be seen before a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np

from hepcalib import ntuples
from hepcalib.config.schema import JetSample, TopoClusterSample
from hepcalib.exceptions import TrainingError
from hepcalib.ntuples import quantities
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import part_mask, quantity, ranges, selection, validation_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.config import Loaded
    from hepcalib.config.schema import ModelConfig

__all__ = ["require_examples"]

MOST_ENTRIES = 2_000_000  # of files that are read for it; of more, there are enough
_SIGMAS = 7.0


def require_examples(loaded: Loaded, config: ModelConfig) -> None:
    """Refuse a training for which its datasets do not have the objects.

    What is there already is read: the columns that decide which objects can be used. Of clusters
    that are not simulated yet the number is known, and which of them are for validation a binomial
    experiment; other samples tell nothing before they are made.

    Raises:
        TrainingError: if there are no objects to learn from, no background or no signal, or fewer
            than `training.examples`.
        NtupleError: if a file cannot be read.
    """
    _require_labels(loaded, config)
    simulated = [_clusters_to_come(loaded, name) for name in config.datasets]
    if all(number is not None for number in simulated):
        _require_expected(sum(number or 0 for number in simulated), config)
        return
    given = [(path, name) for name in config.datasets for path in dataset_files(loaded, name)]
    files = [
        (path, dataset_layout(loaded.config, name))
        for path, name in given
        if isinstance(path, Path) and path.exists()
    ]
    if len(files) < len(given):  # some are behind URLs, or not made yet
        return
    if sum(ntuples.scan(path, layout).entries for path, layout in files) > MOST_ENTRIES:
        return
    parts = [_usable(path, layout, config) for path, layout in files]
    identity, label = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    _require_classes(label, config)
    kept = validation_mask(identity, config.training.validation_fraction)
    mine = part_mask(identity, config.training.part, config.training.parts)
    _require(int(np.sum(mine & ~kept)), int(np.sum(mine & kept)), config)


def _require_labels(loaded: Loaded, config: ModelConfig) -> None:
    """Refuse a signal or background that the processes of simulated samples do not have."""
    used = [loaded.config.samples.get(_sample(loaded, name)) for name in config.datasets]
    jets = [sample for sample in used if isinstance(sample, JetSample)]
    if config.kind != "tagger" or len(jets) < len(used):
        return
    from hepcalib.samples.jets.truth import OF_PROCESS

    found = {label for sample in jets for label in OF_PROCESS[sample.process]}
    if not found >= {0, config.signal}:
        needed = f"0 and the signal, {config.signal}"
        msg = f"its samples have the labels {sorted(found)}; needed: {needed}"
        raise TrainingError(msg)


def _sample(loaded: Loaded, dataset: str) -> str:
    return loaded.config.datasets[dataset].sample or ""


def _clusters_to_come(loaded: Loaded, name: str) -> int | None:
    """Return how many clusters a dataset will have, if it is of a sample that is not there."""
    sample = loaded.config.samples.get(_sample(loaded, name))
    is_there = sample is not None and Path(dataset_files(loaded, name)[0]).exists()
    return sample.clusters if isinstance(sample, TopoClusterSample) and not is_there else None


def _require_expected(clusters: int, config: ModelConfig) -> None:
    fraction = config.training.validation_fraction
    for share, training in (((1.0 - fraction) / config.training.parts, True), (fraction, False)):
        spread = math.sqrt(clusters * share * (1.0 - share))
        most = min(clusters, math.floor(clusters * share + _SIGMAS * spread))
        _require(most if training else clusters, clusters if training else most, config)


def _usable(
    path: Path, layout: str, config: ModelConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return event number and label of the objects of a file that a model can learn from."""
    needed = {"event", *ranges(config)}
    if config.kind == "tagger":
        needed |= {"label"}
    else:
        of = quantity(config)
        needed |= {*quantities.measured_columns(config.object, of)}
        needed |= {*quantities.true_columns(config.object, of)}
    objects = ntuples.read(path, layout, columns=sorted(needed))
    if config.object == "jet":
        objects = ak.flatten(objects, axis=1)
    objects = objects[selection(objects, config)]
    event = np.asarray(ak.to_numpy(objects["event"]), dtype=np.int64)
    is_tagger = config.kind == "tagger"
    label = np.asarray(ak.to_numpy(objects["label"])) if is_tagger else np.zeros(len(event))
    return event, label.astype(np.int64)


def _require_classes(label: NDArray[np.int64], config: ModelConfig) -> None:
    counts = {name: int(np.sum(label == name)) for name in (0, config.signal)}
    if config.kind == "tagger" and not all(counts.values()):
        msg = f"{counts[0]} jets labelled 0 and {counts[config.signal]} labelled {config.signal}"
        ranged = " in its ranges" if ranges(config) else ""
        raise TrainingError(msg + f"{ranged}; a tagger needs both")


def _require(training: int, validation: int, config: ModelConfig) -> None:
    wanted = config.training.examples
    if wanted is not None and wanted > training:
        msg = f"training.examples is {wanted}; there are {training} to learn from"
        raise TrainingError(msg)
    if not training or not validation:
        msg = f"{training} {config.object}s to learn from and {validation} to validate with"
        raise TrainingError(msg + "; more events are needed")
