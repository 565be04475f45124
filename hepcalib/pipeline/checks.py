"""Everything that can be wrong is looked at before anything expensive starts."""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hepcalib import bundles
from hepcalib.config.schema import BundleFile, ModelConfig
from hepcalib.decorrelation import METHODS
from hepcalib.exceptions import BundleError, ConfigError, suggestion
from hepcalib.models import (
    BernoulliHead,
    BoostedTrees,
    Evidential,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
)
from hepcalib.ntuples import LAYOUTS
from hepcalib.ntuples.columns import STANDARD
from hepcalib.ntuples.quantities import QUANTITIES
from hepcalib.pipeline.analyses import models_of, outline, processor_class
from hepcalib.pipeline.arguments import check_arguments
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import unfitted_inputs
from hepcalib.pipeline.scope import warn_of_scope
from hepcalib.pipeline.training import (
    bundle_path,
    is_up_to_date,
    network,
    penalty_options,
    training_options,
)
from hepcalib.training.penalties import ADVERSARY, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hepcalib.bundles import BundleSpec
    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Decorrelator, Penalty
    from hepcalib.config.schema import Residual
    from hepcalib.models import Model
    from hepcalib.ntuples import Layout

__all__ = ["check"]

OF_THE_RESPONSE = ("LogNormalHead", "LogNormalMixtureHead")
OF_THE_TRUTH = (FlowLikelihood, GaussianAnsatz, GeneralisedInversion)


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
    for name, residual in loaded.config.residuals.items():
        _check_residual(loaded, name, residual)
    for name, decorrelator in loaded.config.decorrelators.items():
        _check_decorrelator(loaded, name, decorrelator)
    for name in loaded.config.analyses:
        _check_uses(loaded, name)
    warn_of_scope(loaded)


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
            _check_penalty(loaded, name, model, model.penalty, layout)
        if model.planing is not None:
            _check_planing(loaded, name, model, layout)
        _require_columns(loaded, ("models", name, "uniform_in"), model.uniform_in, layout)
    if model.quantity not in {None, *QUANTITIES[model.object]}:
        known = suggestion(str(model.quantity), QUANTITIES[model.object])
        msg = f"a {model.object} has no '{model.quantity}' to calibrate. {known}"
        raise loaded.error(("models", name, "quantity"), msg)
    builders = {
        "inputs": unfitted_inputs,
        "penalty": penalty_options,
        "training": training_options,
        "network": _network,
    }
    for key, build in builders.items():
        try:
            build(model)
        except ConfigError as error:
            raise loaded.error(("models", name, key), str(error)) from error
    if is_up_to_date(loaded, name):
        bundles.load(bundle_path(loaded, name))
    elif model.network["name"] == BoostedTrees.__name__ and find_spec("hep_ml") is None:
        msg = "BoostedTrees need hep_ml, which is not installed; install hepcalib[boosting]"
        raise loaded.error(("models", name, "network"), msg)


def _require_columns(
    loaded: Loaded, key: tuple[str, ...], names: Iterable[str], layout: Layout
) -> None:
    """Refuse what is no column, or has more than one value per object."""
    standard = STANDARD[layout.object]
    known = [name for name in layout.available if standard[name].level != "constituent"]
    for name in names:
        if name not in known:
            msg = f"layout '{layout.name}' has no column '{name}' with one value per "
            raise loaded.error(key, f"{msg}{layout.object}. {suggestion(name, known)}")


def _check_penalty(
    loaded: Loaded, name: str, model: ModelConfig, penalty: Penalty, layout: Layout
) -> None:
    key = ("models", name, "penalty")
    if model.kind != "tagger":
        raise loaded.error(key, "a penalty is for taggers: it acts on the background")
    if penalty.name not in NAMES:
        msg = f"unknown penalty '{penalty.name}'. {suggestion(penalty.name, NAMES)}"
        raise loaded.error((*key, "name"), msg)
    if penalty.auxiliary and penalty.name != ADVERSARY:
        msg = f"{penalty.name} knows no auxiliary columns; an {ADVERSARY} does"
        raise loaded.error((*key, "auxiliary"), msg)
    _require_columns(loaded, (*key, "nuisance"), penalty.nuisances, layout)
    _require_columns(loaded, (*key, "auxiliary"), penalty.auxiliary, layout)


def _check_planing(loaded: Loaded, name: str, model: ModelConfig, layout: Layout) -> None:
    key = ("models", name, "planing")
    if model.kind != "tagger":
        raise loaded.error(key, "planing is for taggers: it needs two classes")
    if model.planing is not None:
        _require_columns(loaded, (*key, "variables"), model.planing.variables, layout)


def _check_decorrelator(loaded: Loaded, name: str, wanted: Decorrelator) -> None:
    """Refuse what is no tagger, method or column."""
    key = ("decorrelators", name)
    if wanted.method not in METHODS:
        msg = f"unknown method '{wanted.method}'. {suggestion(wanted.method, METHODS)}"
        raise loaded.error((*key, "method"), msg)
    allowed = inspect.signature(METHODS[wanted.method].fit).parameters.keys()  # type: ignore[attr-defined]  # each has its own options
    for option in wanted.options:
        if option not in allowed - {"score", "nuisances", "weight"}:
            msg = f"{wanted.method} has no option '{option}'. {suggestion(option, allowed)}"
            raise loaded.error((*key, "options", option), msg)
    is_model = wanted.score in loaded.config.models
    if is_model and _made(loaded, wanted.score).kind != "tagger":
        msg = f"'{wanted.score}' is a response model; a decorrelator needs a tagger"
        raise loaded.error((*key, "score"), msg)
    for dataset in wanted.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        if layout.object != "jet":
            msg = f"dataset '{dataset}' holds {layout.object}s; a decorrelator is for jets"
            raise loaded.error((*key, "datasets"), msg)
        _require_columns(loaded, (*key, "variables"), wanted.variables, layout)
        if not is_model:
            _require_score(loaded, (*key, "score"), wanted.score, layout)


def _require_score(loaded: Loaded, key: tuple[str, ...], name: str, layout: Layout) -> None:
    known = {*layout.available, *loaded.config.models}
    if name not in known:
        msg = f"neither a model nor a column of layout '{layout.name}' is named '{name}'. "
        raise loaded.error(key, msg + suggestion(name, known))


def _network(model: ModelConfig) -> None:
    made = network(model)
    head = type(made.head).__name__
    if isinstance(made.head, BernoulliHead) != (model.kind == "tagger"):
        msg = f"a {model.kind} with a {head}; a tagger has a BernoulliHead, only it"
        raise ConfigError(msg)
    _require_boosting(made, model)
    if head == "EvidentialHead" and not any(isinstance(m, Evidential) for m in made.modules()):
        msg = "an EvidentialHead without Evidential around its model"
        raise ConfigError(msg)
    if head in OF_THE_RESPONSE and model.target != "response":
        msg = f"a {head} with target '{model.target}'; it is the distribution of R: 'response'"
        raise ConfigError(msg)
    of_the_truth = [type(m).__name__ for m in made.modules() if isinstance(m, OF_THE_TRUTH)]
    if of_the_truth and model.target != "log10_truth":
        msg = f"{of_the_truth[0]} with target '{model.target}'; it needs 'log10_truth'"
        raise ConfigError(msg)
    if model.location.startswith("response_") and model.target != "log10_response":
        msg = f"location '{model.location}' with target '{model.target}'; use 'mean' or 'mode'"
        raise ConfigError(msg)


def _require_boosting(made: Model, model: ModelConfig) -> None:
    """Refuse trees that descent would have to teach, and other models that should be uniform."""
    inside = any(isinstance(part, BoostedTrees) for part in made.modules())
    if not inside and model.uniform_in:
        msg = f"uniform_in with {type(made).__name__}; it is for BoostedTrees, others: penalty"
        raise ConfigError(msg)
    if not inside:
        return
    if not isinstance(made, BoostedTrees) or model.penalty is not None:
        where = "with a penalty" if isinstance(made, BoostedTrees) else f"in {type(made).__name__}"
        msg = f"BoostedTrees {where}: descent does not change trees; give uniform_in alone"
        raise ConfigError(msg)
    if (made.options["method"] == "plain") == bool(model.uniform_in):
        rule = "plain trees are uniform in nothing" if model.uniform_in else "give uniform_in"
        msg = f"BoostedTrees, method {made.options['method']}: {rule}"
        raise ConfigError(msg)


def _check_uses(loaded: Loaded, name: str) -> None:
    """Refuse a model of jets for clusters, a tagger for a calibration, and the other way round."""
    analysis = loaded.config.analyses[name]
    kind = getattr(processor_class(loaded, name), "kind", None)
    for used, role in models_of(loaded, name).items():
        made = _made(loaded, used)
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
    made, key = _made(loaded, residual.model), ("residuals", name)
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
            _check_edges(loaded, (*key, "variables", variable), edges)
    if not isinstance(residual.true_bins, int):
        _check_edges(loaded, (*key, "true_bins"), residual.true_bins)


def _check_edges(loaded: Loaded, key: tuple[str, ...], edges: tuple[float, ...]) -> None:
    if len(edges) < 2 or list(edges) != sorted(set(edges)):
        msg = f"bin edges {list(edges)}; needed: at least two, in ascending order"
        raise loaded.error(key, msg)


def _made(loaded: Loaded, name: str) -> ModelConfig | BundleSpec:
    """Return what a model is, or the one in a bundle."""
    model = loaded.config.models[name]
    return bundles.load(model.bundle).spec if isinstance(model, BundleFile) else model


def _check_bundle(loaded: Loaded, name: str, model: BundleFile) -> None:
    found = bundles.load(bundle_path(loaded, name))
    if model.sha256 is not None and found.sha256 != model.sha256:
        msg = f"{model.bundle}: sha256 is {found.sha256}, declared is {model.sha256}"
        raise BundleError(msg)
