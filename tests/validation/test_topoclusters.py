"""What the study of a million clusters must show beside the exact response density.

The bounds on linearity, resolution, closure, coverage, pulls, likelihood, agreement and the slice
are the requirements of the study, not fits to its results. Medians and widths of the calibrated
and the best possible energies are those of the same clusters, so that their fluctuations cancel.
In a bin of 1000 clusters a counted coverage has a standard error of 1.5 points, as large as the
requirement; so the coverage is that of the exact density between the ends of the interval.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from scipy.special import logsumexp, ndtr

from hepcalib import bundles, hists, inference
from hepcalib.ntuples import LAYOUTS
from hepcalib.samples import cluster_response, response_density, topoclusters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.samples.response_density import ResponseDensity

    Record = Callable[[str, object], None]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(7200)]

POPULATED = 1000  # effective entries of a bin
VARIABLES = ("true_energy", "mu", "n_pv", "rapidity")
METHODS = ("BNN", "Repulsive ensemble")
MODELS = ("bnn", "repulsive_ensemble")


class Probe(NamedTuple):
    """Clusters that no model has seen, with their exact density."""

    columns: dict[str, Any]
    density: ResponseDensity


@pytest.fixture(scope="module")
def probe() -> Probe:
    raw = topoclusters.simulate(200_000, seed=104)
    branches = {n: c.branch for n, c in LAYOUTS["cluster_tree"].columns.items()}
    columns = {name: raw[branch] for name, branch in branches.items() if branch in raw}
    return Probe(columns, cluster_response.density(raw))


@pytest.fixture(scope="module")
def finished(full_run: Callable[..., Any]) -> Any:
    return full_run("topoclusters", "--workers", "2")


@pytest.fixture(scope="module")
def study(finished: Any) -> Any:
    return finished.metrics["clusters"]


def scales(study: Any, quantity: str, key: str, method: str) -> tuple[Any, Any]:
    found = study[quantity]
    populated = np.array(found[method]["entries"]) >= POPULATED
    calibrated, best = (
        np.array(found[scale][key], dtype=float)[populated] for scale in (method, "Best possible")
    )
    return calibrated, best


def linearity_gap(study: Any, variable: str, method: str) -> float:
    calibrated, best = scales(study, f"linearity_{variable}", "median", method)
    return float(np.max(np.abs(calibrated - best)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_linearity_beside_the_oracle(
    study: Any, record_property: Record, variable: str, method: str
) -> None:
    worst = linearity_gap(study, variable, method)
    record_property("largest distance to the oracle's median", round(worst, 4))
    assert worst < 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_resolution_beside_the_oracle(
    study: Any, record_property: Record, variable: str, method: str
) -> None:
    calibrated, best = scales(study, f"resolution_{variable}", "resolution", method)
    ratio = float(np.max(calibrated / best))
    record_property("largest resolution / oracle's resolution", round(ratio, 4))
    assert ratio < 1.05


@pytest.mark.parametrize("scale", ["EM", "LCW"])
def test_the_bounds_tell_a_worse_calibration(study: Any, scale: str) -> None:
    calibrated, best = scales(study, "resolution_mu", "resolution", scale)
    assert np.max(calibrated / best) > 1.05
    assert linearity_gap(study, "true_energy", scale) > 0.01


def test_closure_in_calibrated_energy(study: Any, record_property: Record) -> None:
    calibrated, _ = scales(study, "linearity_calibrated_energy", "median", "BNN")
    worst = float(np.max(np.abs(calibrated - 1.0)))
    record_property("largest non-closure", round(worst, 4))
    assert worst < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_pulls(study: Any, record_property: Record, method: str) -> None:
    pulls = study["pulls"][method]
    record_property("width of the total pulls", round(pulls["pull"]["width"], 3))
    assert abs(pulls["pull"]["width"] - 1.0) < 0.05
    assert pulls["statistical"]["width"] > 2.0


@pytest.mark.parametrize("model", MODELS)
def test_coverage(finished: Any, probe: Probe, record_property: Record, model: str) -> None:
    answer = inference.predict(bundle_of(finished.out, model), probe.columns, threads=1)
    low, high = (np.asarray(answer[f"interval_{end}"]) for end in ("low", "high"))
    for variable, values in {
        "calibrated_energy": probe.columns["energy"] / np.asarray(answer.response),
        "rapidity": probe.columns["rapidity"],
        "mu": probe.columns["mu"],
    }.items():
        worst = largest_gap(probe.density, low, high, variable=variable, values=values)
        record_property(f"largest distance from 68.27 % against {variable}", round(worst, 4))
        assert worst < 0.015
        halved = largest_gap(probe.density, low, 0.9 * high, variable=variable, values=values)
        assert halved > 0.015  # an interval that ends at 90 % of its upper end is told


def largest_gap(
    density: ResponseDensity, low: Any, high: Any, *, variable: str, values: Any
) -> float:
    """Largest distance of the exact coverage from the nominal one in the populated bins."""
    covered = response_density.cdf(density, high) - response_density.cdf(density, low)
    place = np.digitize(values, hists.VARIABLES[variable].edges)
    counted, total = np.bincount(place), np.bincount(place, weights=covered)
    populated = (counted >= POPULATED) & (np.arange(len(counted)) > 0)
    return float(np.max(np.abs(total[populated] / counted[populated] - 0.6827)))


def test_the_slice_is_found(study: Any, record_property: Record) -> None:
    spectrum = study["uncertainty"]["BNN"]["total"]
    record_property("maxima of sigma/R", [round(peak, 3) for peak in spectrum["peaks"]])
    record_property("valley of sigma/R", spectrum["valley"] and round(spectrum["valley"], 3))
    assert len(spectrum["peaks"]) == 2
    region = study["large_uncertainty_region"]
    record_property("region", [region["feature"], region["intervals"]])
    record_property("share of the clusters above the valley", region["share_above_inside"])
    assert region["feature"] == "rapidity"
    low, high = np.abs(np.array(region["intervals"])).min(), np.abs(region["intervals"]).max()
    assert (low, high) == pytest.approx((1.2, 1.6), abs=0.01)
    assert region["share_above_inside"] > 0.9


def test_bnn_and_repulsive_ensemble_agree(study: Any, record_property: Record) -> None:
    found = study["agreement"]["total"]
    record_property("ratio of the medians of sigma", round(found["median_ratio"], 3))
    record_property("rank correlation", round(found["rank_correlation"], 3))
    assert abs(found["median_ratio"] - 1.0) < 0.1
    assert found["rank_correlation"] > 0.9


def test_training_size(study: Any, probe: Probe, record_property: Record) -> None:
    scan = study["training_size"]
    statistical = np.array(scan["statistical"], dtype=float)
    slope = scan["statistical_slope"]
    rounded = [round(value, 4) for value in statistical.tolist()]
    record_property("statistical sigma/R", dict(zip(scan["values"], rounded, strict=True)))
    record_property("slope", [round(slope["slope"], 3), round(slope["slope_error"], 3)])
    assert np.all(np.diff(statistical) < 0.0)
    known = float(np.median(exact_width(probe.density)))
    record_property("known width of ln R, median", round(known, 4))
    at_a_million = scan["systematic"][scan["values"].index(1e6)]
    record_property("systematic sigma/R at 1e6 over the known one", round(at_a_million / known, 3))
    assert abs(at_a_million / known - 1.0) < 0.05


def exact_width(density: ResponseDensity) -> Any:
    """Standard deviation of ln R, with the truncation by the cuts; (rows,)."""
    norm = moment = square = np.zeros(len(density.p2))
    for share, m, s in (
        (1.0 - density.p2, density.m1, density.s1),
        (density.p2, density.m2, density.s2),
    ):
        a, b = (density.low - m) / s, (density.high - m) / s
        inside, at_a, at_b = ndtr(b) - ndtr(a), gaussian(a), gaussian(b)
        norm = norm + share * inside
        moment = moment + share * (m * inside + s * (at_a - at_b))
        tails = 2.0 * m * s * (at_a - at_b) + s**2 * (a * at_a - b * at_b)
        square = square + share * ((m**2 + s**2) * inside + tails)
    return np.sqrt(square / norm - (moment / norm) ** 2)


def gaussian(x: Any) -> Any:
    return np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)


@pytest.mark.parametrize("model", MODELS)
def test_likelihood(finished: Any, probe: Probe, record_property: Record, model: str) -> None:
    response = probe.columns["energy"].astype(float) / probe.columns["true_energy"]
    oracle = float(np.mean(response_density.nll(probe.density, response)))
    found = nll(bundle_of(finished.out, model), probe.columns, np.log10(response))
    record_property("NLL of the oracle", round(oracle, 4))
    record_property("NLL - NLL of the oracle", round(found - oracle, 4))
    assert abs(oracle + 1.032) < 0.01
    assert found - oracle < 0.02


def bundle_of(out: Path, model: str) -> Path:
    """The bundle that a run has used."""
    provenance = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    folders = (out.parent.parent / ".hepcalib" / "bundles").glob(f"{model}-*")
    (found,) = [f for f in folders if bundles.sha256_of(f) == provenance["bundles"][model]]
    return found


def nll(bundle: Path, columns: Any, target: Any) -> float:
    """Mean of -ln p(log10 R) of the pooled mixture [nat]."""
    total = 0.0
    for start in range(0, len(target), 20_000):
        rows = slice(start, start + 20_000)
        mixture = inference.mixtures(bundle, {n: c[rows] for n, c in columns.items()}, threads=1)
        reduced = (target[rows, None] - mixture.means) / mixture.deviations
        norm = np.log(mixture.deviations) + 0.5 * np.log(2.0 * np.pi)
        total -= logsumexp(-0.5 * reduced**2 - norm, b=mixture.weights, axis=1).sum()
    return total / len(target)
