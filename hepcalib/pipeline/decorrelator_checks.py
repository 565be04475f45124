"""What can be wrong with a decorrelator, seen before anything is fitted."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np

from hepcalib.decorrelation import METHODS
from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion
from hepcalib.ntuples import LAYOUTS
from hepcalib.pipeline.columns import require_columns, require_filled
from hepcalib.pipeline.decorrelators import fitted_columns
from hepcalib.pipeline.inputs import dataset_layout
from hepcalib.pipeline.model_checks import spec_of
from hepcalib.pipeline.signatures import problem

if TYPE_CHECKING:
    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Decorrelator
    from hepcalib.ntuples import Layout

__all__ = ["check_decorrelator"]


def check_decorrelator(loaded: Loaded, name: str, wanted: Decorrelator) -> None:
    """Refuse what is no tagger, method or column."""
    key = ("decorrelators", name)
    if wanted.method not in METHODS:
        msg = f"unknown method '{wanted.method}'. {suggestion(wanted.method, METHODS)}"
        raise loaded.error((*key, "method"), msg)
    _check_options(loaded, key, wanted)
    is_model = wanted.score in loaded.config.models
    if is_model and spec_of(loaded, wanted.score).kind != "tagger":
        msg = f"'{wanted.score}' is a response model; a decorrelator needs a tagger"
        raise loaded.error((*key, "score"), msg)
    for dataset in wanted.datasets:
        layout = LAYOUTS[dataset_layout(loaded.config, dataset)]
        if layout.object != "jet":
            msg = f"dataset '{dataset}' holds {layout.object}s; a decorrelator is for jets"
            raise loaded.error((*key, "datasets"), msg)
        require_columns(loaded, (*key, "variables"), wanted.variables, layout)
        require_filled(loaded, (*key, "datasets"), fitted_columns(wanted), layout)
        if not is_model:
            _require_score(loaded, (*key, "score"), wanted.score, layout)


def _check_options(loaded: Loaded, key: tuple[str, ...], wanted: Decorrelator) -> None:
    """Refuse options that a method does not have, of a wrong type, or out of range."""
    fit = METHODS[wanted.method].fit  # type: ignore[attr-defined]  # each has its own options
    allowed = inspect.signature(fit).parameters.keys() - {"score", "nuisances", "weight"}
    for option, value in wanted.options.items():
        if option not in allowed:
            msg = f"{wanted.method} has no option '{option}'. {suggestion(option, allowed)}"
            raise loaded.error((*key, "options", option), msg)
        found = problem(fit, option, value)
        if found is not None:
            raise loaded.error((*key, "options", option), found)
    try:  # a method looks at its options before it looks at the jets, of which there are none
        fit(np.empty(0), {v: np.empty(0) for v in wanted.variables}, **wanted.options)
    except ConfigError as error:
        raise loaded.error((*key, "options"), str(error)) from error
    except (DataError, ShapeError):
        return


def _require_score(loaded: Loaded, key: tuple[str, ...], name: str, layout: Layout) -> None:
    known = {*layout.available, *loaded.config.models}
    if name not in known:
        msg = f"neither a model nor a column of layout '{layout.name}' is named '{name}'. "
        raise loaded.error(key, msg + suggestion(name, known))
