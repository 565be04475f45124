"""Train the models that a configuration declares and that have no up-to-date bundle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from hepcalib import bundles, models
from hepcalib.config.schema import BundleFile, ModelConfig
from hepcalib.exceptions import ConfigError, DataError, NtupleError, ShapeError, TrainingError
from hepcalib.pipeline.digests import code_digest, digest, versions
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import (
    Learnable,
    learnable,
    needed_columns,
    part_mask,
    shuffled,
    unfitted_inputs,
    validation_mask,
)
from hepcalib.pipeline.samples import sample_digest
from hepcalib.run import scan_dataset
from hepcalib.settings import own_settings, seeded
from hepcalib.training import Checkpoint, Examples, PenaltyOptions, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from hepcalib.config import Loaded
    from hepcalib.features import Inputs
    from hepcalib.models import Model
    from hepcalib.training import History

__all__ = [
    "bundle_path",
    "completed",
    "dataset_digest",
    "ensure_bundle",
    "is_up_to_date",
    "network",
    "penalty_options",
    "training_options",
]

_ROOMS = (
    "ragged",
    "batch",
    "models",
    "losses",
    "calibration",
    "features",
    "training",
    "ntuples",
    "pipeline/inputs",
    "pipeline/learnable",
    "pipeline/training",
)

_OF_THE_SAMPLE = {"validation_fraction", "examples", "part", "parts"}


@own_settings()
def network(config: ModelConfig, target: NDArray[np.float32] | None = None) -> Model:
    """Return the untrained model of a configuration.

    The numbers of inputs are filled in, and, for a response model, mean and standard deviation of
    the target log10 R (rows,) as shift and scale of the head.
    """
    return models.build(completed(config.network, config, target))


def training_options(config: ModelConfig) -> TrainingOptions:
    """Return the options of the training loop.

    Raises:
        ConfigError: if they contradict each other.
    """
    if config.training.part > config.training.parts:
        msg = f"part {config.training.part} of {config.training.parts}; needed: one of the parts"
        raise ConfigError(msg)
    chosen = config.training.model_dump(exclude=_OF_THE_SAMPLE)
    return TrainingOptions(**chosen, penalty=penalty_options(config))


def penalty_options(config: ModelConfig) -> PenaltyOptions | None:
    """Return the options of the penalty, if there is one.

    Raises:
        ConfigError: if they contradict each other, or the penalty does not have them.
    """
    if config.penalty is None:
        return None
    given = config.penalty.model_dump(exclude={"nuisance", "auxiliary"}, exclude_unset=True)
    return PenaltyOptions(**given)


def bundle_path(loaded: Loaded, name: str) -> Path:
    """Return the folder that holds, or will hold, the trained model of this name."""
    model = loaded.config.models[name]
    if isinstance(model, BundleFile):
        return Path(model.bundle)
    determines = digest(
        model.model_dump(mode="json"),
        [dataset_digest(loaded, used, needs=needed_columns(model)) for used in model.datasets],
        code_digest(*_ROOMS),
        versions("torch", "numpy", "awkward", "uproot"),
    )
    return _workspace(loaded) / "bundles" / f"{name}-{determines[:12]}"


def _workspace(loaded: Loaded) -> Path:
    return Path(loaded.config.workspace).absolute()


def is_up_to_date(loaded: Loaded, name: str) -> bool:
    """Tell whether the bundle of a model is there; its path names all that determines it."""
    return (bundle_path(loaded, name) / "bundle.json").exists()


def ensure_bundle(
    loaded: Loaded,
    name: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the bundle of a model, training it first if there is none that is up to date.

    A training that was interrupted goes on from its last checkpoint in the workspace.

    Args:
        loaded: The configuration that declares the model.
        name: The model's name.
        progress: Called with (epochs done, epochs).

    Returns:
        The path of the bundle.

    Raises:
        TrainingError: if nothing is left to train on, or the training diverges.
        DataError: if an input is not finite.
    """
    path = bundle_path(loaded, name)
    config = loaded.config.models[name]
    if isinstance(config, BundleFile):
        return path
    checkpoint = Checkpoint(_workspace(loaded) / "checkpoints" / f"{path.name}.pt", of=path.name)
    if not is_up_to_date(loaded, name):
        try:
            examples = learnable(loaded, config)
            trained = _trained(config, examples, checkpoint=checkpoint, progress=progress)
        except (DataError, ShapeError, TrainingError) as error:
            msg = f"model '{name}' on {', '.join(config.datasets)}: {error}"
            raise type(error)(msg) from error
        bundles.save(
            path,
            trained.model,
            trained.inputs,
            kind=config.kind,
            object=config.object,
            name=name,
            target=config.target,
            quantity=config.quantity,
            location=config.location,
            provenance={
                "config": config.model_dump(mode="json"),
                "datasets": {
                    used: dataset_digest(loaded, used, needs=needed_columns(config))
                    for used in config.datasets
                },
                "examples": trained.examples,
                "history": [epoch._asdict() for epoch in trained.history],
                "versions": versions("torch", "numpy", "awkward", "uproot"),
            },
        )
    checkpoint.remove()
    return path


class _Trained(NamedTuple):
    """A model after its training, and how many examples it has seen."""

    model: Model
    inputs: Inputs
    history: History
    examples: dict[str, int]


@own_settings()
def _trained(
    config: ModelConfig,
    examples: Learnable,
    *,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None] | None,
) -> _Trained:
    kept = validation_mask(examples.identity, config.training.validation_fraction)
    mine = part_mask(examples.identity, config.training.part, config.training.parts)
    training, validation = (
        shuffled(np.flatnonzero(part & mine), examples.identity) for part in (~kept, kept)
    )
    training_rows, validation_rows = _limited(training, validation, config)
    if not len(training_rows) or not len(validation_rows):
        msg = (
            f"{len(training_rows)} {config.object}s to learn from and {len(validation_rows)} to "
            "validate with; more events are needed"
        )
        raise TrainingError(msg)
    inputs = unfitted_inputs(config)
    raw = inputs.extract(examples.objects)
    inputs.fit(raw.select(training_rows))
    everything = Examples(
        batch=inputs(raw),
        target=torch.from_numpy(examples.target),
        weight=_tensor(examples.weight),
        nuisance=_tensor(examples.nuisance),
        background=_tensor(examples.background),
        auxiliary=_tensor(examples.auxiliary),
    )
    with seeded(config.training.seed):
        model = network(config, examples.target[training_rows.numpy()])
    history = train(
        model,
        everything.select(training_rows),
        everything.select(validation_rows),
        options=training_options(config),
        checkpoint=checkpoint,
        progress=progress,
    )
    counts = {"training": len(training_rows), "validation": len(validation_rows)}
    return _Trained(model, inputs, history, counts)


def _limited(
    training: NDArray[np.int64], validation: NDArray[np.int64], config: ModelConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first rows, as many as the training shall have, and their share to validate."""
    wanted, fraction = config.training.examples, config.training.validation_fraction
    if wanted is not None and wanted > len(training):
        msg = f"training.examples is {wanted}; there are {len(training)} to learn from"
        raise TrainingError(msg)
    if wanted is not None:
        share = math.ceil(wanted * fraction / (1.0 - fraction))
        training, validation = training[:wanted], validation[:share]
    return torch.from_numpy(training), torch.from_numpy(validation)


def completed(
    spec: dict[str, Any], config: ModelConfig, target: NDArray[np.float32] | None
) -> dict[str, Any]:
    """Return a specification with what inputs and target decide, at the innermost model."""
    if isinstance(spec.get("model"), dict):
        return {**spec, "model": completed(spec["model"], config, target)}
    filled = {"features": len(config.inputs.features), **spec}
    if config.inputs.constituents:
        filled.setdefault("constituents", len(config.inputs.constituents))
        _require_leading(spec, config)
    if config.kind == "response" and target is not None and "head" in filled:
        measured = {"shift": float(target.mean()), "scale": float(target.std()) or 1.0}
        filled["head"] = {**measured, **filled["head"]}
    return filled


def _require_leading(spec: dict[str, Any], config: ModelConfig) -> None:
    """Refuse constituents that do not begin with those that the model computes with."""
    leading: tuple[str, ...] = getattr(getattr(models, str(spec.get("name")), None), "leading", ())
    given = config.inputs.constituents
    if given[: len(leading)] != leading:
        msg = (
            f"inputs.constituents begin with {', '.join(given[: len(leading)])}; {spec['name']} "
            f"needs as the first ones, in this order: {', '.join(leading)}"
        )
        raise ConfigError(msg)


def dataset_digest(loaded: Loaded, name: str, *, needs: Iterable[str]) -> str:
    """Return what identifies the content of a dataset; files are read, and must be as declared.

    Args:
        loaded: The configuration that declares the dataset.
        name: Its name.
        needs: Standard columns that its files must have.

    Raises:
        NtupleError: if a file cannot be read, or is not as declared.
    """
    dataset = loaded.config.datasets[name]
    if dataset.sample is not None:
        return sample_digest(loaded.config.samples[dataset.sample])
    found = scan_dataset(
        name,
        dataset_files(loaded, name),
        dataset_layout(loaded.config, name),
        needs=needs,
        checksum=True,
        sha256=dataset.sha256,
        events=dataset.events,
        sum_of_weights=dataset.sum_of_weights,
    )
    if found.unreadable:
        lines = [f"dataset '{name}': {file.reason}" for file in found.unreadable]
        raise NtupleError("; ".join(lines))
    return digest(found.layout, [file.sha256 for file in found.files])


def _tensor(array: NDArray[Any] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array)
