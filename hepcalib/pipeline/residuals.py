"""Residual corrections: what the response of a model leaves, undone by numerical inversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import awkward as ak
import numpy as np

import hepcalib
from hepcalib import bundles, documents, export, inference, ntuples
from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.exceptions import DataError, DocumentError, RunError, ShapeError
from hepcalib.ntuples import quantities
from hepcalib.ntuples.columns import STANDARD
from hepcalib.ntuples.writing import replacing
from hepcalib.pipeline.digests import code_digest, digest, versions
from hepcalib.pipeline.inputs import dataset_files, dataset_layout
from hepcalib.pipeline.training import bundle_path, dataset_digest, is_up_to_date

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from hepcalib.config import Loaded
    from hepcalib.config.schema import Residual

__all__ = ["ensure_residual", "is_fitted", "residual_path", "residual_provenance"]

_LARGEST = 1 << 24  # of a file [bytes]
_ROOMS = (
    "calibration",
    "export",
    "features",
    "inference",
    "models",
    "ntuples",
    "pipeline/residuals",
)


def residual_path(loaded: Loaded, name: str) -> Path:
    """Return the file that holds, or will hold, the residual correction of this name.

    Raises:
        RunError: if its model is not trained yet.
    """
    residual = loaded.config.residuals[name]
    if not is_up_to_date(loaded, residual.model):
        msg = f"residual '{name}': no up-to-date bundle of its model '{residual.model}'"
        raise RunError(msg)
    bundle = bundles.load(bundle_path(loaded, residual.model))
    determines = digest(
        residual.model_dump(mode="json"),
        bundle.sha256,
        _digests(loaded, residual, bundle),
        code_digest(*_ROOMS),
        versions("torch", "numpy", "awkward", "uproot", "correctionlib"),
    )
    folder = Path(loaded.config.workspace).absolute() / "residuals"
    return folder / f"{name}-{determines[:12]}.json"


def is_fitted(loaded: Loaded, name: str) -> bool:
    """Tell whether a residual correction is there, for the model as it is now."""
    model = loaded.config.residuals[name].model
    return is_up_to_date(loaded, model) and residual_path(loaded, name).exists()


def ensure_residual(loaded: Loaded, name: str) -> Path:
    r"""Return the file of a residual correction, fitting it first if there is none.

    .. math:: f(x) = T[\,\mathrm{calibrated} \mid \mathrm{true} = x\,], \quad
        c = f^{-1}(\mathrm{calibrated}) / \mathrm{calibrated}

    in bins of the truth and of its variables. It is one correctionlib correction of that name, with
    the calibrated value (`pt_calibrated`, [GeV]) and the variables as inputs. Its provenance and
    the inversion itself are in the description of the file, as JSON.

    Args:
        loaded: The configuration that declares it.
        name: Its name.

    Raises:
        RunError: if its model is not trained yet.
        DataError: if a bin has too few objects or the response does not rise; the message names
            the bin.
    """
    path = residual_path(loaded, name)
    if path.exists():
        return path
    residual = loaded.config.residuals[name]
    bundle = bundles.load(bundle_path(loaded, residual.model))
    try:
        sample = _sample(loaded, residual, bundle)
        inversion = _fitted(residual, sample)
    except (DataError, ShapeError) as error:
        used = ", ".join(residual.datasets)
        msg = f"residual '{name}' of model '{residual.model}' on {used}: {error}"
        raise type(error)(msg) from error
    quantity = str(bundle.spec.quantity)
    text = export.inversion_json(
        name,
        inversion,
        variable=(f"{quantity}_calibrated", "GeV"),
        units={v: STANDARD[bundle.spec.object][v].unit for v in residual.variables},
        description=f"Multiply {quantity}_calibrated = {quantity} / response by it.",
    )
    provenance = {
        "hepcalib": hepcalib.__version__,
        "residual": residual.model_dump(mode="json"),
        "bundle": bundle.sha256,
        "datasets": _digests(loaded, residual, bundle),
        "objects": len(sample.true),
        "inversion": inversion.state,
    }
    with replacing(path) as temporary:
        export.write_corrections(temporary, text, description=json.dumps(provenance))
    return path


def residual_provenance(path: str | Path) -> dict[str, Any]:
    """Return how a residual correction came about; `inversion` is the state of the inversion.

    Raises:
        RunError: if the file cannot be read or has no provenance.
    """
    try:
        document = documents.read(path, limit=_LARGEST)
        description = document.get("description") if isinstance(document, dict) else None
        found = documents.parsed(str(description).encode())
    except DocumentError as error:
        msg = f"{path}: {error}; needed: a residual correction"
        raise RunError(msg) from error
    if not isinstance(found, dict):
        msg = f"{path}: its description is no provenance; needed: a residual correction"
        raise RunError(msg)
    return found


class _Sample(NamedTuple):
    """True and calibrated values [GeV], weights and variables of objects, (rows,) each."""

    true: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    weight: NDArray[np.float64]
    variables: dict[str, NDArray[np.float64]]


def _needs(residual: Residual, bundle: Bundle) -> set[str]:
    kind, quantity = bundle.spec.object, str(bundle.spec.quantity)
    return {
        *bundle.inputs.needs,
        *quantities.measured_columns(kind, quantity),
        *quantities.true_columns(kind, quantity),
        *residual.variables,
        *({"weight"} if residual.weights == "event" else ()),
    }


def _digests(loaded: Loaded, residual: Residual, bundle: Bundle) -> dict[str, str]:
    needs = _needs(residual, bundle)
    return {used: dataset_digest(loaded, used, needs=needs) for used in residual.datasets}


def _sample(loaded: Loaded, residual: Residual, bundle: Bundle) -> _Sample:
    parts = [
        _part(path, dataset_layout(loaded.config, dataset), residual, bundle)
        for dataset in residual.datasets
        for path in dataset_files(loaded, dataset)
    ]
    return _Sample(
        true=np.concatenate([part.true for part in parts]),
        calibrated=np.concatenate([part.calibrated for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        variables={
            v: np.concatenate([part.variables[v] for part in parts]) for v in residual.variables
        },
    )


def _part(path: Path | str, layout: str, residual: Residual, bundle: Bundle) -> _Sample:
    kind, quantity = bundle.spec.object, str(bundle.spec.quantity)
    objects = ntuples.read(path, layout, columns=sorted(_needs(residual, bundle)))
    if kind == "jet":
        objects = ak.flatten(objects, axis=1)
    usable = (quantities.measured(objects, kind, quantity) > 0) & (
        quantities.true(objects, kind, quantity) > 0
    )
    if kind == "jet":
        usable &= np.asarray(objects["matched"])
    objects = objects[usable]
    answer = inference.predict(bundle, objects, where=str(path))
    weight = objects["weight"] if residual.weights == "event" else np.ones(len(objects))
    return _Sample(
        quantities.true(objects, kind, quantity),
        quantities.measured(objects, kind, quantity) / np.asarray(answer["response"]),
        np.asarray(weight, dtype=np.float64),
        {v: np.asarray(objects[v], dtype=np.float64) for v in residual.variables},
    )


def _fitted(residual: Residual, sample: _Sample) -> NumericalInversion:
    if not len(sample.true):
        msg = "there is no object whose measured and true value are positive"
        raise DataError(msg)
    edges = residual.true_bins
    if isinstance(edges, int):
        edges = tuple(np.quantile(sample.true, np.linspace(0.0, 1.0, edges + 1)))
        edges = (*edges[:-1], float(np.nextafter(edges[-1], np.inf)))  # the last one is in a bin
    return NumericalInversion.fit(
        sample.true,
        sample.calibrated,
        edges=edges,
        statistic=residual.location,
        auxiliary={v: (sample.variables[v], own) for v, own in residual.variables.items()},
        weight=sample.weight,
        minimum_entries=residual.minimum_entries,
    )
