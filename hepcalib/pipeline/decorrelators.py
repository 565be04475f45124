"""Decorrelators: what acts on the score of a tagger after its training, fitted to background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import awkward as ak
import numpy as np

import hepcalib
from hepcalib import export, ntuples
from hepcalib.decorrelation import METHODS
from hepcalib.exceptions import ConfigError, DataError, RunError, ShapeError, TrainingError
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.inference.tagging import decorrelator_text, old_score
from hepcalib.ntuples.columns import STANDARD
from hepcalib.ntuples.writing import replacing
from hepcalib.pipeline.digests import code_digest, digest, versions
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.learnable import ranges, within_ranges
from hepcalib.pipeline.training import bundle_path, dataset_digest, is_up_to_date
from hepcalib.training.devices import thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.config import Loaded
    from hepcalib.config.decorrelation import Decorrelator

__all__ = [
    "decorrelated_tagger",
    "decorrelator_path",
    "ensure_decorrelator",
    "fitted_columns",
    "is_learnt",
]

_ROOMS = (
    "calibration/sample_location",
    "decorrelation",
    "export",
    "features",
    "inference",
    "losses/pinball",
    "models",
    "ntuples",
    "pipeline/decorrelators",
    "pipeline/learnable",
)
# Shares of the background below the nodes of the exported table, besides equidistant scores.
_SHARES = np.concatenate([np.linspace(0.0, 0.98, 50), 1.0 - np.logspace(-2.0, -5.0, 13)])
_EQUIDISTANT = 41


def decorrelator_path(loaded: Loaded, name: str) -> Path:
    """Return the file that holds, or will hold, the decorrelator of this name.

    Raises:
        RunError: if its tagger is not trained yet.
    """
    wanted = loaded.config.decorrelators[name]
    determines = digest(
        wanted.model_dump(mode="json"),
        _before(loaded, name).tagger.sha256 if _is_model(loaded, wanted) else wanted.score,  # type: ignore[union-attr]  # a model has a handle
        _digests(loaded, name),
        code_digest(*_ROOMS),
        versions("torch", "numpy", "scipy", "zuko", "awkward", "uproot", "correctionlib"),
    )
    folder = Path(loaded.config.workspace).absolute() / "decorrelators"
    return folder / f"{name}-{determines[:12]}.json"


def is_learnt(loaded: Loaded, name: str) -> bool:
    """Tell whether a decorrelator is there, for the tagger as it is now."""
    wanted = loaded.config.decorrelators[name]
    if _is_model(loaded, wanted) and not is_up_to_date(loaded, wanted.score):
        return False
    return decorrelator_path(loaded, name).exists()


def decorrelated_tagger(loaded: Loaded, name: str) -> DecorrelatedTagger:
    """Return the handle that workers get.

    Raises:
        BundleError: if the decorrelator cannot be read.
    """
    before = _before(loaded, name)
    return DecorrelatedTagger.of(
        decorrelator_path(loaded, name),
        tagger=before.tagger,
        column=before.column,
        rises=before.rises,
    )


def ensure_decorrelator(loaded: Loaded, name: str) -> Path:
    """Return the file of a decorrelator, fitting it first if there is none.

    A table of it as correctionlib JSON stands beside it, with the ending `.correction.json`.

    Args:
        loaded: The configuration that declares it.
        name: Its name.

    Raises:
        RunError: if its tagger is not trained yet.
        DataError: if there are too few background jets, or a value is not finite.
        ConfigError: if the method does not have such options.
    """
    path = decorrelator_path(loaded, name)
    if path.exists():
        return path
    wanted = loaded.config.decorrelators[name]
    sample = _sample(loaded, name)
    try:
        with thread_count(1):
            made = METHODS[wanted.method].fit(  # type: ignore[attr-defined]  # each has its own options
                sample.score, sample.nuisances, weight=sample.weight, **wanted.options
            )
    except (ConfigError, DataError, ShapeError, TrainingError, TypeError) as error:
        msg = f"decorrelator '{name}' of '{wanted.score}' on {', '.join(wanted.datasets)}: {error}"
        raise (ConfigError if isinstance(error, TypeError) else type(error))(msg) from error
    provenance = {
        "hepcalib": hepcalib.__version__,
        "decorrelator": wanted.model_dump(mode="json"),
        "tagger": sample.sha256,
        "datasets": _digests(loaded, name),
        "jets": len(sample.score),
    }
    table = export.decorrelator_json(
        name,
        made,
        scores=_score_nodes(sample.score, probability=_is_model(loaded, wanted)),
        units={v: STANDARD["jet"][v].unit for v in made.variables},
        description=f"{wanted.method} of {wanted.score}: the share of background below.",
    )
    with replacing(path.with_suffix(".correction.json")) as temporary:
        export.write_corrections(temporary, table, description=f"Decorrelated {wanted.score}.")
    with replacing(path) as temporary:
        temporary.write_text(decorrelator_text(wanted.method, made, provenance), encoding="utf-8")
    return path


def fitted_columns(wanted: Decorrelator) -> set[str]:
    """Return the standard columns that a fit reads, besides those of the score."""
    weight = {"weight"} if wanted.weights == "event" else set()
    return {"label", *wanted.variables, *ranges(wanted)} | weight


def _score_nodes(score: NDArray[np.float64], *, probability: bool) -> NDArray[np.float64]:
    """Return where the new score is tabulated: it rises where the background is."""
    low, high = (0.0, 1.0) if probability else (score.min(), score.max())
    even = np.linspace(low, high, _EQUIDISTANT)
    return np.unique(np.concatenate([np.quantile(score, _SHARES), even]))


class _Sample(NamedTuple):
    """Background jets: old scores, nuisances and weights, (rows,) each."""

    score: NDArray[np.float64]
    nuisances: dict[str, NDArray[np.float64]]
    weight: NDArray[np.float64]
    sha256: str | None


def _is_model(loaded: Loaded, wanted: Decorrelator) -> bool:
    return wanted.score in loaded.config.models


def _before(loaded: Loaded, name: str) -> DecorrelatedTagger:
    """Return what a decorrelator acts on, as a tagger without a file of its own."""
    wanted = loaded.config.decorrelators[name]
    if not _is_model(loaded, wanted):
        return DecorrelatedTagger("", "", column=wanted.score, rises=wanted.signal_is == "high")
    if not is_up_to_date(loaded, wanted.score):
        msg = f"decorrelator '{name}': no up-to-date bundle of its tagger '{wanted.score}'"
        raise RunError(msg)
    return DecorrelatedTagger("", "", tagger=Handle.of(bundle_path(loaded, wanted.score)))


def _needs(loaded: Loaded, name: str) -> set[str]:
    wanted = loaded.config.decorrelators[name]
    before = _before(loaded, name)
    of_tagger = {before.column}
    if before.tagger is not None:
        from hepcalib.inference import resident

        of_tagger = resident(before.tagger, device="cpu").inputs.needs
    return of_tagger | fitted_columns(wanted)


def _digests(loaded: Loaded, name: str) -> dict[str, str]:
    needs = _needs(loaded, name)
    used = loaded.config.decorrelators[name].datasets
    return {dataset: dataset_digest(loaded, dataset, needs=needs) for dataset in used}


def _sample(loaded: Loaded, name: str) -> _Sample:
    wanted, before = loaded.config.decorrelators[name], _before(loaded, name)
    columns = sorted(_needs(loaded, name))
    scores, kept = [], []
    for dataset in wanted.datasets:
        for path in dataset_files(loaded, dataset):
            jets = ntuples.read(path, dataset_layout(loaded.config, dataset), columns=columns)
            jets = ak.flatten(jets, axis=1)
            jets = jets[(np.asarray(jets["label"]) == 0) & within_ranges(jets, wanted)]
            scores.append(old_score(before, jets, where=str(path))[0])
            kept.append({v: np.asarray(jets[v], dtype=np.float64) for v in (*wanted.variables,)})
            own = jets["weight"] if wanted.weights == "event" else np.ones(len(jets))
            kept[-1]["weight"] = np.asarray(own, dtype=np.float64)
    together = {key: np.concatenate([part[key] for part in kept]) for key in kept[0]}
    weight = together.pop("weight")
    sha256 = None if before.tagger is None else before.tagger.sha256
    return _Sample(np.concatenate(scores), together, weight, sha256)
