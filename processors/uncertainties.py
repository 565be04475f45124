"""Histograms of predicted uncertainties and densities, of one or of several methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from hepcalib import hists, inference
from hepcalib.hists.density import interval_probabilities
from hepcalib.models import DeepEnsemble
from hepcalib.processors.columns import floats
from hepcalib.processors.responses import fill_coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import awkward as ak
    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.features import Inputs
    from hepcalib.inference import Handle, Mixtures
    from hepcalib.models import Model

    Floats = NDArray[np.float64]

__all__ = [
    "COVERED",
    "fill_agreement",
    "fill_coverages",
    "fill_densities",
    "fill_features",
    "fill_scan",
    "key_of",
]

COVERED = ("calibrated_energy", "rapidity", "mu")
_SUFFIXES = dict(zip(hists.KINDS, ("tot", "syst", "stat"), strict=True))


def key_of(method: str) -> str:
    """Return the name of a method as a part of the names of histograms and files."""
    return method.lower().replace(" ", "_")


def relative(answer: ak.Array, kind: str) -> Floats:
    """Return the relative uncertainty of a kind, (rows,)."""
    return floats(answer, f"sigma_{_SUFFIXES[kind]}") / floats(answer, "response")


def fill_scan(answer: ak.Array, *, weight: Floats) -> Hist[Any]:
    """Return the spectra of the relative uncertainties of a model."""
    histogram = hists.uncertainty()
    for kind in hists.KINDS:
        hists.fill_uncertainty(
            histogram, kind=kind, uncertainty=relative(answer, kind), weight=weight
        )
    return histogram


def fill_coverages(
    clusters: ak.Array, answers: Mapping[str, ak.Array], *, weight: Floats
) -> dict[str, Hist[Any]]:
    """Return whether the true response is in the 68.27 % interval, against each of `COVERED`."""
    response = floats(clusters, "energy") / floats(clusters, "true_energy")
    filled = {}
    for variable in COVERED:
        values = {name: _variable(clusters, answer, variable) for name, answer in answers.items()}
        filled[f"coverage_{variable}"] = fill_coverage(
            variable, values, response=response, answers=answers, weight=weight
        )
    return filled


def fill_features(
    clusters: ak.Array, answer: ak.Array, inputs: Inputs, *, weight: Floats
) -> dict[str, Hist[Any]]:
    """Return, against each input, how well R is predicted, its uncertainty, and the input itself.

    Args:
        clusters: Standard columns of clusters.
        answer: What `inference.predict` returned for them.
        inputs: The inputs of the model, fitted.
        weight: Event weights (rows,).
    """
    truth = floats(clusters, "true_energy")
    ratio = floats(answer, "response") * truth / floats(clusters, "energy")
    sigma = relative(answer, "total")
    transformed = inputs(inputs.extract(clusters)).features.double().numpy()
    seen = {
        name.partition(".")[2]: column
        for name, column in zip(inputs.names, transformed.T, strict=True)
    }
    filled: dict[str, Hist[Any]] = {}
    for feature in ("true_energy", *hists.FEATURES):
        values = floats(clusters, feature)
        power, spread = hists.feature_response(feature), hists.feature_uncertainty(feature)
        hists.fill_feature_response(power, values=values, ratio=ratio, weight=weight)
        hists.fill_feature_uncertainty(spread, values=values, uncertainty=sigma, weight=weight)
        filled |= {f"power_{feature}": power, f"sigma_{feature}": spread}
        if feature in seen:
            shown = hists.feature_input(feature)
            hists.fill_feature_input(shown, values=values, transformed=seen[feature], weight=weight)
            filled[f"input_{feature}"] = shown
    return filled


def fill_agreement(
    answers: Mapping[str, ak.Array], pair: Sequence[str], *, weight: Floats
) -> Hist[Any]:
    """Return the relative uncertainties of two methods for the same clusters."""
    first, second = pair
    histogram = hists.uncertainty_pair(first, second)
    for kind in hists.KINDS:
        hists.fill_uncertainty_pair(
            histogram,
            kind=kind,
            first=relative(answers[first], kind),
            second=relative(answers[second], kind),
            weight=weight,
        )
    return histogram


def fill_densities(
    clusters: ak.Array,
    methods: Mapping[str, tuple[Handle | Path, ak.Array]],
    *,
    targets: Mapping[str, Floats],
    device: str,
    where: str,
) -> dict[str, Hist[Any]]:
    """Return the probability integral transform of each method, and the density of the first one.

    The density is drawn of a model of log10 R, with the components of its mixture if all members
    have the same ones: draws of one network, but not networks that were trained independently.

    Args:
        clusters: Standard columns of the clusters that are shown.
        methods: Name -> the model, and what it predicts for these clusters.
        targets: Name -> true value of the variable that the model was trained for (rows,).
        device: auto, cpu or cuda.
        where: What the clusters are; begins the message of an error.
    """
    energy, weight = floats(clusters, "energy"), floats(clusters, "weight")
    transforms, shown = hists.pit(tuple(methods)), hists.density()
    for place, (name, (handle, answer)) in enumerate(methods.items()):
        if not np.all(floats(answer, "target_sigma_tot") > 0):
            continue  # a point has no density
        mixture = inference.mixtures(handle, clusters, device=device, where=where)
        hists.fill_pit(transforms, method=name, pit=_below(mixture, targets[name]), weight=weight)
        bundle = inference.resident(handle, device=device)
        if place == 0 and bundle.spec.target == "log10_response":
            hists.fill_density(shown, energy=energy, log_response=targets[name], weight=weight)
            _fill_predicted(shown, mixture, bundle.model, energy=energy, weight=weight)
    return {"pit": transforms, "density": shown}


def _fill_predicted(
    histogram: Hist[Any], mixture: Mixtures, model: Model, *, energy: Floats, weight: Floats
) -> None:
    kinds = [str(kind) for kind in histogram.axes["kind"]][1:]
    at, labels = histogram.axes["log_response"].edges, len(kinds) - 1
    independent = any(isinstance(part, DeepEnsemble) for part in model.modules())
    if independent or getattr(model.head, "components", 1) != labels:
        kinds = kinds[:1]
    for number, kind in enumerate(kinds):
        part = slice(None) if number == 0 else slice(number - 1, None, labels)
        chosen = (values[:, part] for values in mixture[:3])
        names = ("weights", "means", "deviations")
        probabilities = interval_probabilities(at, **dict(zip(names, chosen, strict=True)))
        hists.fill_predicted_density(
            histogram, kind=kind, energy=energy, probabilities=probabilities, weight=weight
        )


def _below(mixture: Mixtures, target: Floats) -> Floats:
    """Return the predicted probability of a value below the true one, (rows,)."""
    at = np.log(target) if mixture.logarithmic else target
    reduced = (at[:, None] - mixture.means) / mixture.deviations
    below: Floats = np.sum(mixture.weights * ndtr(reduced), axis=1)
    return np.clip(below, 0.0, 1.0)


def _variable(clusters: ak.Array, answer: ak.Array, name: str) -> Floats:
    if name == "calibrated_energy":
        return floats(clusters, "energy") / floats(answer, "response")
    return floats(clusters, name)
