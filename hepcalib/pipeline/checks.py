"""Everything that can be wrong is looked at before anything expensive starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib import bundles, losses
from hepcalib.config.schema import BundleFile, ModelConfig
from hepcalib.exceptions import BundleError, ConfigError, suggestion
from hepcalib.models import BernoulliHead
from hepcalib.ntuples import LAYOUTS
from hepcalib.pipeline.analyses import check_arguments, outline, processor_class
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import unfitted_inputs
from hepcalib.pipeline.training import bundle_path, is_up_to_date, network, training_options

if TYPE_CHECKING:
    from hepcalib.config import Loaded
    from hepcalib.config.schema import Penalty
    from hepcalib.ntuples import Layout

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
        outline(loaded, name)
    for name, model in loaded.config.models.items():
        if isinstance(model, BundleFile):
            _check_bundle(loaded, name, model)
        else:
            _check_model(loaded, name, model)
    for name in loaded.config.analyses:
        _check_uses(loaded, name)


def _check_dataset(loaded: Loaded, name: str) -> None:
    layout = dataset_layout(loaded.config, name)
    if layout not in LAYOUTS:
        msg = f"unknown layout '{layout}'. {suggestion(layout, LAYOUTS)}"
        raise loaded.error(("datasets", name, "layout"), msg)
    dataset_files(loaded, name)


def _check_model(loaded: Loaded, name: str, model: ModelConfig) -> None:
    for dataset in model.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        if layout.object != model.object:
            msg = f"dataset '{dataset}' holds {layout.object}s; the model is for {model.object}s"
            raise loaded.error(("models", name, "object"), msg)
        if model.penalty is not None:
            _check_penalty(loaded, name, model.penalty, layout)
    builders = {"inputs": unfitted_inputs, "training": training_options, "network": _network}
    for key, build in builders.items():
        try:
            build(model)
        except ConfigError as error:
            raise loaded.error(("models", name, key), str(error)) from error
    if is_up_to_date(loaded, name):
        bundles.load(bundle_path(loaded, name))


def _check_penalty(loaded: Loaded, name: str, penalty: Penalty, layout: Layout) -> None:
    if penalty.name not in losses.PENALTIES:
        msg = f"unknown penalty '{penalty.name}'. {suggestion(penalty.name, losses.PENALTIES)}"
        raise loaded.error(("models", name, "penalty", "name"), msg)
    if penalty.nuisance not in layout.available:
        hint = suggestion(penalty.nuisance, layout.available)
        msg = f"layout '{layout.name}' has no column '{penalty.nuisance}'. {hint}"
        raise loaded.error(("models", name, "penalty", "nuisance"), msg)


def _network(model: ModelConfig) -> None:
    head = network(model).head
    if isinstance(head, BernoulliHead) != (model.kind == "tagger"):
        msg = f"a {model.kind} with a {type(head).__name__}; a tagger has a BernoulliHead, only it"
        raise ConfigError(msg)


def _check_uses(loaded: Loaded, name: str) -> None:
    """Refuse a model of jets for clusters, a tagger for a calibration, and the other way round."""
    analysis = loaded.config.analyses[name]
    kind = getattr(processor_class(loaded, name), "kind", None)
    for role, used in analysis.models.items():
        model = loaded.config.models[used]
        made = bundles.load(model.bundle).spec if isinstance(model, BundleFile) else model
        if kind is not None and made.kind != kind:
            msg = f"'{used}' is a {made.kind} model; {analysis.processor} takes a {kind} model"
            raise loaded.error(("analyses", name, "models", role), msg)
        for dataset in analysis.datasets:
            needed = LAYOUTS[dataset_layout(loaded.config, dataset)].object
            if made.object != needed:
                msg = f"'{used}' is for {made.object}s; dataset '{dataset}' holds {needed}s"
                raise loaded.error(("analyses", name, "models", role), msg)


def _check_bundle(loaded: Loaded, name: str, model: BundleFile) -> None:
    found = bundles.load(bundle_path(loaded, name))
    if model.sha256 is not None and found.sha256 != model.sha256:
        msg = f"{model.bundle}: sha256 is {found.sha256}, declared is {model.sha256}"
        raise BundleError(msg)
