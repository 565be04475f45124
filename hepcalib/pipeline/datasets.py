"""The datasets of a configuration, scanned: sizes, weights, checksums, needed branches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hepcalib import bundles, run
from hepcalib.config.schema import BundleFile
from hepcalib.exceptions import NtupleError
from hepcalib.ntuples import quantities
from hepcalib.pipeline.analyses import models_of, outline
from hepcalib.pipeline.decorrelators import fitted_columns
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import quantity, unfitted_inputs
from hepcalib.pipeline.samples import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Decorrelator

__all__ = ["needed_of", "refuse_bad_files", "scan_datasets"]

_NAMED = 4  # bad files in a message


def scan_datasets(loaded: Loaded, *, names: Iterable[str], checksum: bool) -> list[run.Dataset]:
    """Scan the files of some datasets for the columns that are needed of them.

    Those are the columns of processors, of what they apply, and of the fits of decorrelators.

    Args:
        loaded: The configuration.
        names: Datasets to scan.
        checksum: Whether to compute and compare the sha256 of every file.

    Returns:
        The datasets; files that cannot be read are in them, with the reason.
    """
    return [_scan(loaded, name, checksum=checksum) for name in names]


def refuse_bad_files(datasets: Iterable[run.Dataset]) -> None:
    """Refuse datasets with files that cannot be read and that nobody said to tolerate.

    Raises:
        NtupleError: naming the first files, each with its dataset and the reason, and the number
            of the others.
    """
    bad = [
        f"dataset '{dataset.name}': {file.reason}"
        for dataset in datasets
        if not dataset.tolerate
        for file in dataset.unreadable
    ]
    if bad:
        others = [f"and {len(bad) - _NAMED} other files"] if len(bad) > _NAMED else []
        raise NtupleError("; ".join(bad[:_NAMED] + others))


def _scan(loaded: Loaded, name: str, *, checksum: bool) -> run.Dataset:
    dataset = loaded.config.datasets[name]
    layout = dataset_layout(loaded.config, name)
    files = dataset_files(loaded, name)
    sha256, events, weights = dataset.sha256, dataset.events, dataset.sum_of_weights
    if dataset.sample is not None:
        sha256, events, weights = declared(Path(files[0]))
    return run.scan_dataset(
        name,
        files,
        layout,
        needs=needed_of(loaded, name),
        checksum=checksum,
        sha256=sha256 if checksum else None,
        events=events,
        sum_of_weights=weights,
        tolerate=dataset.tolerate_bad_files,
    )


def needed_of(loaded: Loaded, name: str) -> list[str]:
    """Return the standard columns that analyses and fits need of a dataset."""
    config, needed = loaded.config, set[str]()
    for analysis, options in config.analyses.items():
        if name in options.datasets:
            processor = outline(loaded, analysis)
            needed |= set(getattr(processor, "needs", ()))
            for model in models_of(loaded, analysis):
                needed |= _columns(loaded, model, truth=getattr(processor, "needs_truth", False))
            for used in options.models.values():
                if used in config.residuals:
                    needed |= set(config.residuals[used].variables)
                if used in config.decorrelators:
                    needed |= _decorrelated_columns(loaded, config.decorrelators[used])
    for decorrelator in config.decorrelators.values():
        if name in decorrelator.datasets:
            needed |= fitted_columns(decorrelator) | _decorrelated_columns(loaded, decorrelator)
    return sorted(needed)


def _decorrelated_columns(loaded: Loaded, decorrelator: Decorrelator) -> set[str]:
    """Return the nuisances and what the score is computed from."""
    is_model = decorrelator.score in loaded.config.models
    score = _columns(loaded, decorrelator.score, truth=False) if is_model else {decorrelator.score}
    return {*decorrelator.variables, *score}


def _columns(loaded: Loaded, name: str, *, truth: bool) -> set[str]:
    """Return the inputs of a model and, of a response model, what it calibrates."""
    model = loaded.config.models[name]
    if isinstance(model, BundleFile):
        found = bundles.load(model.bundle)
        needs, kind = found.inputs.needs, found.spec.object
        of = str(found.spec.quantity or "")
    else:
        needs, kind = unfitted_inputs(model).needs, model.object
        of = quantity(model) if model.kind == "response" else ""
    if not of:
        return set(needs)
    true = quantities.true_columns(kind, of) if truth else ()
    return {*needs, *quantities.measured_columns(kind, of), *true}
