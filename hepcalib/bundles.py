"""A trained model on disk: weights.safetensors and bundle.json, identified by one sha256.

Loading runs no code from the bundle: names come from the registries of models and features, and
every byte is checked against a digest before it is parsed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

import hepcalib
from hepcalib import documents, models, weights
from hepcalib.exceptions import (
    BundleError,
    ConfigError,
    DocumentError,
    HepcalibError,
    suggestion,
)
from hepcalib.features import Inputs
from hepcalib.models import BernoulliHead, Model
from hepcalib.ntuples.quantities import QUANTITIES, Quantity
from hepcalib.settings import own_settings, seeded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bundle", "BundleSpec", "load", "save", "sha256_of"]

Target: TypeAlias = Literal["log10_response", "response", "log10_truth"]
Location: TypeAlias = Literal["median", "mean", "mode", "response_mean", "response_mode"]

VERSION = 1
SPEC_FILE, WEIGHTS_FILE = "bundle.json", "weights.safetensors"
LARGEST_SPEC = 1 << 24  # [bytes]


class BundleSpec(BaseModel):
    """What bundle.json says, beside its own digest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    hepcalib: str  # version of the package that wrote it
    kind: Literal["response", "tagger"]
    name: str
    object: Literal["cluster", "jet"]
    target: Target = "log10_response"  # what the distribution of a response model is about
    quantity: Quantity | None = None  # whose response it is; None for a tagger
    location: Location  # of the trained variable, or of R; a tagger's score is a mean
    model: dict[str, Any]  # as `models.build` takes it
    inputs: dict[str, list[dict[str, Any]]]  # as `Inputs.definition`
    weights_sha256: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A trained model with its inputs, ready to predict; on the CPU, in evaluation mode."""

    model: Model
    inputs: Inputs
    spec: BundleSpec
    sha256: str  # of the whole: the canonical JSON, which holds the digest of the weights
    path: Path


def save(
    path: str | Path,
    model: Model,
    inputs: Inputs,
    *,
    kind: Literal["response", "tagger"],
    object: Literal["cluster", "jet"],
    name: str,
    target: Target = "log10_response",
    quantity: Quantity | None = None,
    location: Location = "median",
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle, read it back and return it.

    It is written beside its final place and then renamed, so that a reader sees all of it or
    nothing. An existing bundle is replaced; any other existing folder is left alone.

    Args:
        path: Folder of the bundle.
        model: Trained model, on any device.
        inputs: Its fitted inputs.
        kind: "response" for a model of R = raw / true; "tagger" for a classifier.
        object: What the inputs describe.
        name: The model's name, for messages and figures.
        target: What a response model predicts the distribution of: "log10_response", "response",
            or "log10_truth", the logarithm of the true value [GeV].
        quantity: What R is the response of: energy, pt or mass; None for the usual one.
        location: The statistic that becomes the calibration: "median", "mean" or "mode" of the
            trained variable, or, with log10 R, "response_mean" or "response_mode" of R itself.
        provenance: How the model came about, JSON-able.

    Raises:
        ConfigError: if kind, object and name do not fit model and inputs, the inputs are not
            fitted, or target, quantity or location are unknown or do not fit each other.
        BundleError: if the path is something else, cannot be written, or the provenance is no JSON.
    """
    folder = Path(path)
    _check(model, inputs, kind=kind, owner=object)
    _check_statistic(target, location)
    _check_quantity(object, quantity)
    state = nn.ModuleDict({"model": model, "inputs": inputs}).state_dict()
    stored = safetensors.torch.save({key: value.cpu().contiguous() for key, value in state.items()})
    fields = {
        "version": VERSION,
        "hepcalib": hepcalib.__version__,
        "kind": kind,
        "name": name,
        "object": object,
        "target": target,
        "quantity": (quantity or QUANTITIES[object][0]) if kind == "response" else None,
        "location": location,
        "model": models.describe(model),
        "inputs": inputs.definition,
        "weights_sha256": _sha256(stored),
        "provenance": dict(provenance or {}),
    }
    try:
        fields = json.loads(_canonical(fields))  # what a reader gets: text keys, lists
        document = _canonical({**fields, "sha256": _sha256(_canonical(fields))})
        _write(folder, {SPEC_FILE: document, WEIGHTS_FILE: stored})
    except (TypeError, ValueError) as error:
        msg = f"{folder}: the provenance cannot be written as JSON: {error}"
        raise BundleError(msg) from error
    except OSError as error:
        msg = f"{folder}: cannot be written: {error}"
        raise BundleError(msg) from error
    return load(folder)


def load(path: str | Path) -> Bundle:
    """Read a bundle; all of it is verified before any of it is used.

    Raises:
        BundleError: naming the file, if it is missing, of another version or damaged, or if it
            names a model or an input that this version does not know, or defines differently.
    """
    folder = Path(path)
    spec, digest = _read_spec(folder)
    try:
        with own_settings(), seeded(), torch.inference_mode(mode=False):
            inputs = _inputs(spec.inputs)
            model = weights.restored(
                spec.model, inputs, folder / WEIGHTS_FILE, sha256=spec.weights_sha256
            )
        _check(model, inputs, kind=spec.kind, owner=spec.object)
        _check_statistic(spec.target, spec.location)
        _check_owner(spec)
    except DocumentError as error:
        msg = f"{folder / WEIGHTS_FILE}: {error}"
        raise BundleError(msg) from error
    except HepcalibError as error:
        msg = f"{folder / SPEC_FILE}: {error}"
        raise BundleError(msg) from error
    model.eval().requires_grad_(requires_grad=False)
    return Bundle(model=model, inputs=inputs.eval(), spec=spec, sha256=digest, path=folder)


def sha256_of(path: str | Path) -> str:
    """Return the digest that identifies a bundle, from its verified bundle.json alone.

    Raises:
        BundleError: if bundle.json is missing, damaged or of another version.
    """
    return _read_spec(Path(path))[1]


def _read_spec(folder: Path) -> tuple[BundleSpec, str]:
    file = folder / SPEC_FILE
    try:
        content = documents.content(file, limit=LARGEST_SPEC)
    except DocumentError as error:
        msg = f"{file}: {error}; a bundle is a folder with {SPEC_FILE} and {WEIGHTS_FILE}"
        raise BundleError(msg) from error
    try:
        fields = documents.parsed(content)
    except DocumentError as error:
        msg = f"{file}: {error}"
        raise BundleError(msg) from error
    if not isinstance(fields, dict):
        msg = f"{file}: holds a {type(fields).__name__}; needed: an object with a version"
        raise BundleError(msg)
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        msg = (
            f"{file}: bundle of version {version!r}; hepcalib {hepcalib.__version__} reads "
            f"version {VERSION}"
        )
        raise BundleError(msg)
    canonical = _canonical(fields)
    digest = str(fields.pop("sha256", None))
    if canonical != content or _sha256(_canonical(fields)) != digest:
        msg = f"{file}: does not agree with its own sha256; the file is damaged or was edited"
        raise BundleError(msg)
    try:
        return BundleSpec.model_validate(fields), digest
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
        )
        msg = f"{file}: {problems}"
        raise BundleError(msg) from error


def _inputs(definition: Mapping[str, list[dict[str, Any]]]) -> Inputs:
    """Return inputs of these names, if this version still defines them in the same way."""
    names = {part: [str(entry.get("name")) for entry in definition[part]] for part in definition}
    if set(names) != {"features", "constituents"}:
        msg = f"inputs: holds {sorted(names)}; needed: features and constituents"
        raise ConfigError(msg)
    inputs = Inputs(features=names["features"], constituents=names["constituents"])
    for part, entries in inputs.definition.items():
        for entry, present in zip(definition[part], entries, strict=True):
            if entry != present:
                msg = f"inputs: the bundle has {entry}, this version of hepcalib has {present}"
                raise ConfigError(msg)
    return inputs


def _check(model: Model, inputs: Inputs, *, kind: str, owner: str) -> None:
    if inputs.object != owner:
        msg = f"the inputs describe a {inputs.object}, the bundle shall be of a {owner}"
        raise ConfigError(msg)
    if (kind == "tagger") != isinstance(model.head, BernoulliHead):
        msg = f"kind '{kind}' with a {type(model.head).__name__}; a tagger has a BernoulliHead"
        raise ConfigError(msg)
    if not inputs.fitted:
        msg = "the inputs are not fitted; call inputs.fit(inputs.extract(columns)) first"
        raise ConfigError(msg)


def _check_quantity(owner: str, quantity: str | None) -> None:
    if quantity not in {None, *QUANTITIES[owner]}:
        known = suggestion(str(quantity), QUANTITIES[owner])
        msg = f"a {owner} has no '{quantity}' to calibrate. {known}"
        raise ConfigError(msg)


def _check_owner(spec: BundleSpec) -> None:
    _check_quantity(spec.object, spec.quantity)
    if spec.kind == "response" and spec.quantity is None:
        msg = "does not say whose response it predicts; train it again"
        raise ConfigError(msg)
    if spec.kind == "tagger" and spec.quantity is not None:
        msg = f"a tagger of the {spec.quantity}; needed: no quantity, which a response has"
        raise ConfigError(msg)


def _check_statistic(target: str, location: str) -> None:
    for name, value, kind in (("target", target, Target), ("location", location, Location)):
        if value not in get_args(kind):
            msg = f"unknown {name} '{value}'. {suggestion(value, get_args(kind))}"
            raise ConfigError(msg)
    if location.startswith("response_") and target != "log10_response":
        msg = f"location '{location}' with target '{target}'; it needs 'log10_response'"
        raise ConfigError(msg)


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    if target.exists() and not (target / SPEC_FILE).is_file():
        msg = f"{target}: exists and is no bundle; choose another path or remove it"
        raise BundleError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "new"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        old = Path(temporary) / "old"
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def _canonical(fields: Mapping[str, Any]) -> bytes:
    """The one way to write these fields: sorted keys, two spaces, ASCII."""
    return (json.dumps(fields, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
