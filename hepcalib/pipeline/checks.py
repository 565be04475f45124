"""Everything that can be wrong is looked at before anything expensive starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib import bundles
from hepcalib.config.schema import BundleFile
from hepcalib.exceptions import BundleError, ConfigError, suggestion
from hepcalib.ntuples import LAYOUTS
from hepcalib.ntuples.columns import STANDARD
from hepcalib.pipeline.analyses import models_of, outline, processor_class
from hepcalib.pipeline.arguments import check_arguments
from hepcalib.pipeline.columns import check_edges, require_filled
from hepcalib.pipeline.datasets import needed_of
from hepcalib.pipeline.decorrelator_checks import check_decorrelator
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.model_checks import check_model, spec_of
from hepcalib.pipeline.scope import warn_of_scope
from hepcalib.pipeline.training import bundle_path
from hepcalib.training.devices import resolve_device

if TYPE_CHECKING:
    from hepcalib.config import Loaded
    from hepcalib.config.schema import Residual

__all__ = ["check"]


def check(loaded: Loaded) -> None:
    """Check names, networks, processors, existing bundles and the files to train on.

    The files to process are checked when they are scanned: one that is bad need not stop the rest.

    Raises:
        ConfigError: for a name or an option that nothing knows, or a model that fits nothing.
        NtupleError: if no file matches, or a file to train on is not as it must be.
        BundleError: if an existing bundle is missing, damaged or not the declared one.
    """
    for name in loaded.config.datasets:
        _check_dataset(loaded, name)
    for name in loaded.config.analyses:
        check_arguments(loaded, name)
        _check_device(loaded, name)
    for name, model in loaded.config.models.items():
        if isinstance(model, BundleFile):
            _check_bundle(loaded, name, model)
        else:
            check_model(loaded, name, model)
    for name, residual in loaded.config.residuals.items():
        _check_residual(loaded, name, residual)
    for name, decorrelator in loaded.config.decorrelators.items():
        check_decorrelator(loaded, name, decorrelator)
    for name in loaded.config.analyses:
        _check_uses(loaded, name)
    for name in loaded.config.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, name)]
        require_filled(loaded, ("datasets", name), needed_of(loaded, name), layout)
    warn_of_scope(loaded)


def _check_dataset(loaded: Loaded, name: str) -> None:
    layout = dataset_layout(loaded.config, name)
    if layout not in LAYOUTS:
        msg = f"unknown layout '{layout}'. {suggestion(layout, LAYOUTS)}"
        raise loaded.error(("datasets", name, "layout"), msg)
    dataset_files(loaded, name)


def _check_device(loaded: Loaded, name: str) -> None:
    """Refuse a GPU that there is none of here, where the processors run."""
    device = getattr(outline(loaded, name), "device", None)
    if isinstance(device, str) and loaded.config.run.executor != "dask":
        try:
            resolve_device(device)
        except ConfigError as error:
            raise loaded.error(("analyses", name, "options", "device"), str(error)) from error


def _check_uses(loaded: Loaded, name: str) -> None:
    """Refuse a model of jets for clusters, a tagger for a calibration, and the other way round."""
    analysis = loaded.config.analyses[name]
    kind = getattr(processor_class(loaded, name), "kind", None)
    for used, role in models_of(loaded, name).items():
        made = spec_of(loaded, used)
        if kind is not None and made.kind != kind:
            msg = f"'{used}' is a {made.kind} model; {analysis.processor} takes a {kind} model"
            raise loaded.error(("analyses", name, "models", role), msg)
        for dataset in analysis.datasets:
            needed = LAYOUTS[dataset_layout(loaded.config, dataset)].object
            if made.object != needed:
                msg = f"'{used}' is for {made.object}s; dataset '{dataset}' holds {needed}s"
                raise loaded.error(("analyses", name, "models", role), msg)
    if "residual" in analysis.models:
        corrects = loaded.config.residuals[analysis.models["residual"]].model
        if corrects not in models_of(loaded, name):
            msg = f"'{analysis.models['residual']}' corrects '{corrects}', which is not applied"
            raise loaded.error(("analyses", name, "models", "residual"), msg)


def _check_residual(loaded: Loaded, name: str, residual: Residual) -> None:
    """Refuse a residual of a tagger, on other objects, or in bins of what they do not have."""
    made, key = spec_of(loaded, residual.model), ("residuals", name)
    if made.kind != "response":
        msg = f"'{residual.model}' is a {made.kind} model; a residual needs a response model"
        raise loaded.error((*key, "model"), msg)
    for dataset in residual.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        if layout.object != made.object:
            msg = f"dataset '{dataset}' holds {layout.object}s; the model is for {made.object}s"
            raise loaded.error((*key, "datasets"), msg)
        known = [
            column
            for column in layout.available
            if STANDARD[made.object][column].level in ("event", "object")
        ]
        for variable, edges in residual.variables.items():
            if variable not in known:
                hint = suggestion(variable, known)
                msg = f"layout '{layout.name}' has no column '{variable}'. {hint}"
                raise loaded.error((*key, "variables", variable), msg)
            check_edges(loaded, (*key, "variables", variable), edges)
    if not isinstance(residual.true_bins, int):
        check_edges(loaded, (*key, "true_bins"), residual.true_bins)


def _check_bundle(loaded: Loaded, name: str, model: BundleFile) -> None:
    found = bundles.load(bundle_path(loaded, name))
    if model.sha256 is not None and found.sha256 != model.sha256:
        msg = f"{model.bundle}: sha256 is {found.sha256}, declared is {model.sha256}"
        raise BundleError(msg)
