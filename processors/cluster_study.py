"""The study of calibrated topo-clusters: every method on the same clusters, every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import calibration, hists, inference, ntuples
from hepcalib.exceptions import ConfigError
from hepcalib.processors.cluster_figures import cluster_study
from hepcalib.processors.clusters import (
    BEST,
    EM,
    LCW,
    cluster_columns,
    fill_spectra,
    given_energies,
    is_measurable,
)
from hepcalib.processors.columns import calibrated_columns, floats, in_place, save_columns
from hepcalib.processors.event_sums import fill_event_sums, finish_event_sums
from hepcalib.processors.options import choice
from hepcalib.processors.responses import fill_pulls, fill_responses
from hepcalib.processors.uncertainties import (
    fill_agreement,
    fill_coverages,
    fill_densities,
    fill_features,
    fill_scan,
    key_of,
)
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import awkward as ak
    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.inference import Handle
    from hepcalib.study import Study

__all__ = ["ClusterStudy"]

VARIABLES = ("true_energy", "calibrated_energy", "rapidity", "mu", "n_pv")


class ClusterStudy(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Compare calibrations of topo-clusters and their uncertainties with each other and the truth.

    Linearity and resolution of every method beside the EM scale, LCW and the best possible, for
    clusters and for the sum of those of an event, pulls and coverage, the spectrum of the
    uncertainty with the region that the clusters of its second maximum occupy, the agreement of two
    methods cluster by cluster, and scans over the training size and the width of the prior.

    Reference: arXiv:2412.04370.

    Args:
        training_size: A scan: number of training clusters -> its model.
        prior_precision: A scan: precision of the prior -> its model.
        compare: Two methods that are compared cluster by cluster; the first two if None.
        stride: Densities are drawn of every event whose number this divides.
        columns: Folder for the calibrated clusters, a part per chunk; none are written if None.
            They have a row for every cluster, with NaN where it has no true or no positive energy,
            and names that end in the method, in lower case.
        device: auto, cpu or cuda.
        methods: Name -> a bundle, or its handle, that predicts the response of clusters. The
            first one is shown in the figures of a single method.

    Raises:
        ConfigError: if there is no method, an option is out of range, or `compare` names others.
    """

    kind = "response"  # of the models that it takes
    needs = ("true_energy",)

    def __init__(
        self,
        *,
        training_size: Mapping[float, Handle | Path] | None = None,
        prior_precision: Mapping[float, Handle | Path] | None = None,
        compare: Sequence[str] | None = None,
        stride: int = 25,
        columns: str | None = None,
        device: str = "auto",
        **methods: Handle | Path,
    ) -> None:
        if not methods or stride < 1:
            msg = f"{len(methods)} methods, stride {stride}; needed: at least 1 each"
            raise ConfigError(msg)
        if len({key_of(name) for name in methods}) < len(methods):
            msg = f"methods {sorted(methods)}; needed: names that differ in more than case"
            raise ConfigError(msg)
        self.methods = methods
        self.compare = tuple(choice("compare", name, tuple(methods)) for name in compare or ())
        if len(self.compare) not in {0, 2}:
            msg = f"compare is {list(self.compare)}; needed: two methods"
            raise ConfigError(msg)
        self.scans = {
            "training_size": dict(training_size or {}),
            "prior_precision": dict(prior_precision or {}),
        }
        self.stride = stride
        self.columns = columns
        self.device = choice("device", device, DEVICES)

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        everything = ntuples.objects(events)
        measurable = is_measurable(everything)
        clusters = everything[measurable]
        where = f"{ntuples.where(events)}, measurable clusters"
        answers = {
            name: inference.predict(handle, clusters, device=self.device, where=where)
            for name, handle in self.methods.items()
        }
        if self.columns is not None:
            columns = cluster_columns(everything)
            for name, values in _calibrated(clusters, answers).items():
                columns[name] = in_place(values, measurable)
            save_columns(self.columns, events, columns)
        return {
            **self._scales(clusters, answers, events.metadata),
            **self._uncertainties(clusters, answers, where),
            **self._scanned(clusters, where),
        }

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum, with the events that the chunks have cut in two."""
        return finish_event_sums(accumulator)

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return all figures of merit of the study, with their figures."""
        return cluster_study(histograms)

    def _scales(
        self, clusters: ak.Array, answers: Mapping[str, ak.Array], metadata: Mapping[str, Any]
    ) -> dict[str, Hist[Any]]:
        """Return responses and spectra at every scale."""
        energies = given_energies(clusters)
        measured = energies[EM]
        calibrated = {name: measured / floats(a, "response") for name, a in answers.items()}
        energies = {EM: energies[EM], LCW: energies[LCW], **calibrated, BEST: energies[BEST]}
        truth, weight = floats(clusters, "true_energy"), floats(clusters, "weight")
        variables = {name: floats(clusters, name) for name in VARIABLES if name in clusters.fields}
        variables["calibrated_energy"] = next(iter(calibrated.values()))
        raw = hists.measured_response()
        hists.fill_measured_response(
            raw, true_energy=truth, response=measured / truth, weight=weight
        )
        return {
            **fill_responses(
                energies,
                truth,
                variables,
                scales=tuple(energies),
                weight=weight,
                quantity="energy",
            ),
            **fill_event_sums(clusters, energies, metadata=metadata),
            "spectrum": fill_spectra({"True": truth, **energies}, weight),
            "measured_response": raw,
        }

    def _uncertainties(
        self, clusters: ak.Array, answers: Mapping[str, ak.Array], where: str
    ) -> dict[str, Hist[Any]]:
        """Return pulls, coverage and the uncertainties themselves."""
        measured, truth = floats(clusters, "energy"), floats(clusters, "true_energy")
        weight = floats(clusters, "weight")
        filled: dict[str, Hist[Any]] = {}
        for name, answer in answers.items():
            pulls = fill_pulls(answer, self._target(name, measured, truth), weight=weight)
            filled |= {f"{key}_{key_of(name)}": histogram for key, histogram in pulls.items()}
        filled |= fill_coverages(clusters, answers, weight=weight)
        first = next(iter(answers))
        bundle = inference.resident(self.methods[first], device="cpu")  # whose inputs are
        filled |= fill_features(clusters, answers[first], bundle.inputs, weight=weight)
        if len(answers) > 1:
            pair = self.compare or tuple(answers)[:2]
            filled["agreement"] = fill_agreement(answers, pair, weight=weight)
        shown = np.asarray(clusters["event"]) % self.stride == 0
        filled |= fill_densities(
            clusters[shown],
            {name: (self.methods[name], a[shown]) for name, a in answers.items()},
            targets={n: self._target(n, measured[shown], truth[shown]) for n in answers},
            device=self.device,
            where=where,
        )
        return filled

    def _scanned(self, clusters: ak.Array, where: str) -> dict[str, Hist[Any]]:
        """Return the spectrum of the uncertainty of every model of the scans."""
        weight = floats(clusters, "weight")
        filled: dict[str, Hist[Any]] = {}
        for scan, models in self.scans.items():
            for value, handle in models.items():
                answer = inference.predict(handle, clusters, device=self.device, where=where)
                filled[f"{scan}_{float(value)!r}"] = fill_scan(answer, weight=weight)
        return filled

    def _target(
        self, name: str, measured: NDArray[np.float64], truth: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the true value of what a method was trained to predict."""
        spec = inference.resident(self.methods[name], device=self.device).spec
        return calibration.target(measured, truth, spec.target)


def _calibrated(clusters: ak.Array, answers: Mapping[str, ak.Array]) -> dict[str, NDArray[Any]]:
    """Return the columns of every method, each with the method at the end of its name."""
    measured = floats(clusters, "energy")
    return {
        f"{column}_{key_of(name)}": values
        for name, answer in answers.items()
        for column, values in calibrated_columns(answer, measured, quantity="energy").items()
    }
