"""What can be wrong with a model to train, seen before anything is trained."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from hepcalib import bundles, losses
from hepcalib.config.schema import BundleFile
from hepcalib.exceptions import ConfigError, HepcalibError, TrainingError, suggestion
from hepcalib.models import (
    BernoulliHead,
    BoostedTrees,
    Evidential,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
)
from hepcalib.ntuples import LAYOUTS
from hepcalib.ntuples.quantities import QUANTITIES
from hepcalib.pipeline.blueprints import blueprint
from hepcalib.pipeline.columns import check_edges, require_columns, require_filled
from hepcalib.pipeline.inputs import dataset_layout
from hepcalib.pipeline.learnable import needed_columns, unfitted_inputs
from hepcalib.pipeline.reachable import require_examples
from hepcalib.pipeline.signatures import problem
from hepcalib.pipeline.training import (
    bundle_path,
    completed,
    is_up_to_date,
    penalty_options,
    training_options,
)
from hepcalib.training.devices import resolve_device
from hepcalib.training.penalties import ADVERSARY, NAMES

if TYPE_CHECKING:
    from hepcalib.bundles import BundleSpec
    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Penalty
    from hepcalib.config.schema import ModelConfig
    from hepcalib.models import Model
    from hepcalib.ntuples import Layout

__all__ = ["check_model", "spec_of"]

MOST_BINS = 100_000  # of anything that a penalty counts
OF_THE_RESPONSE = ("LogNormalHead", "LogNormalMixtureHead")
OF_THE_TRUTH = (FlowLikelihood, GaussianAnsatz, GeneralisedInversion)


def check_model(loaded: Loaded, name: str, model: ModelConfig) -> None:
    """Refuse a model that fits nothing, or whose training cannot be done.

    Raises:
        ConfigError: naming file, line and key.
        NtupleError: if a file to train on is not as it must be.
    """
    for dataset in model.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        if layout.object != model.object:
            msg = f"dataset '{dataset}' holds {layout.object}s; the model is for {model.object}s"
            raise loaded.error(("models", name, "object"), msg)
        if model.penalty is not None:
            _check_penalty(loaded, name, model, model.penalty, layout)
        if model.planing is not None:
            _check_planing(loaded, name, model, layout)
        require_columns(loaded, ("models", name, "uniform_in"), model.uniform_in, layout)
    if model.quantity not in {None, *QUANTITIES[model.object]}:
        known = suggestion(str(model.quantity), QUANTITIES[model.object])
        msg = f"a {model.object} has no '{model.quantity}' to calibrate. {known}"
        raise loaded.error(("models", name, "quantity"), msg)
    builders = {
        "inputs": _inputs,
        "penalty": _penalty,
        "training": _training,
        "network": _network,
    }
    for key, build in builders.items():
        try:
            build(model)
        except ConfigError as error:
            raise loaded.error(("models", name, key), str(error)) from error
    for dataset in model.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        require_filled(loaded, ("models", name, "datasets"), needed_columns(model), layout)
    if is_up_to_date(loaded, name):
        bundles.load(bundle_path(loaded, name))
    else:
        _check_training(loaded, name, model)


def _check_training(loaded: Loaded, name: str, model: ModelConfig) -> None:
    """Refuse a training for which this machine, or its datasets, lack something."""
    if model.network["name"] == BoostedTrees.__name__ and find_spec("hep_ml") is None:
        msg = "BoostedTrees need hep_ml, which is not installed; install hepcalib[boosting]"
        raise loaded.error(("models", name, "network"), msg)
    try:
        resolve_device(model.training.device)
    except ConfigError as error:
        raise loaded.error(("models", name, "training", "device"), str(error)) from error
    try:
        require_examples(loaded, model)
    except TrainingError as error:
        raise loaded.error(("models", name), str(error)) from error


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
    require_columns(loaded, (*key, "nuisance"), penalty.nuisances, layout)
    require_columns(loaded, (*key, "auxiliary"), penalty.auxiliary, layout)


def _check_planing(loaded: Loaded, name: str, model: ModelConfig, layout: Layout) -> None:
    key = ("models", name, "planing")
    if model.kind != "tagger":
        raise loaded.error(key, "planing is for taggers: it needs two classes")
    if model.planing is not None:
        require_columns(loaded, (*key, "variables"), model.planing.variables, layout)
        for variable, bins in model.planing.variables.items():
            if not isinstance(bins, int):
                check_edges(loaded, (*key, "variables", variable), bins)


def _inputs(model: ModelConfig) -> None:
    described = unfitted_inputs(model).object
    if described != model.object:
        msg = f"the features are of a {described}; the model is for {model.object}s"
        raise ConfigError(msg)


def _training(model: ModelConfig) -> None:
    training_options(model)


def _penalty(model: ModelConfig) -> None:
    """Refuse options of a penalty that are of a wrong type, or that it refuses for a few jets."""
    options, penalty = penalty_options(model), model.penalty
    if options is None or penalty is None:
        return
    taker = losses.Adversary if penalty.name == ADVERSARY else getattr(losses, penalty.name)
    for option, value in penalty.options.items():
        found = problem(taker, option, value)
        if found is not None:
            msg = f"options.{option}: {found}"
            raise ConfigError(msg)
        if isinstance(value, int) and value > MOST_BINS:
            msg = f"options.{option} is {value}; needed: at most {MOST_BINS}"
            raise ConfigError(msg)
    try:
        _try_penalty(taker, len(penalty.nuisances), len(penalty.auxiliary), penalty.options)
    except (HepcalibError, TypeError, ValueError, RuntimeError) as error:
        msg = f"{penalty.name} with {penalty.options}: {error}"
        raise ConfigError(msg) from error


def _try_penalty(taker: Any, nuisances: int, auxiliary: int, options: dict[str, Any]) -> None:
    """Make an adversary, or compute a penalty of jets whose scores and nuisances are all around."""
    if taker is losses.Adversary:
        taker(nuisances=nuisances, auxiliary=auxiliary, **options)
        return
    score = torch.linspace(0.01, 0.99, 60)
    columns = [(score * (7.0 + 4.0 * number)) % 1.0 for number in range(nuisances)]
    nuisance = columns[0] if nuisances == 1 else torch.stack(columns, dim=1)
    taker(score, nuisance, weight=None, **options)


def _network(model: ModelConfig) -> None:
    made = blueprint(completed(model.network, model, None))
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


def spec_of(loaded: Loaded, name: str) -> ModelConfig | BundleSpec:
    """Return what a model is, or the one in a bundle."""
    model = loaded.config.models[name]
    return bundles.load(model.bundle).spec if isinstance(model, BundleFile) else model
