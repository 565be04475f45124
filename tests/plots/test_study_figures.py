"""The figures of the study: labelled axes, no empty panel, and what they say is in the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest

from hepcalib import hists, metrics, plots

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("BNN", "Repulsive ensemble")
ROWS = 4000


def random() -> np.random.Generator:
    return np.random.default_rng(131)


def uncertainties() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = random()
    low, high = rng.normal(-0.8, 0.1, 3 * ROWS // 4), rng.normal(-0.15, 0.03, ROWS // 4)
    return np.asarray(10.0 ** np.concatenate([low, high]), dtype=np.float64)


def slices(rows: int, name: str = "rapidity") -> Any:
    """Uncertainties that are large for 1.2 < |y| < 1.6 only."""
    filled, rng = hists.feature_uncertainty(name), random()
    y = np.concatenate([rng.uniform(-1.0, 1.0, 3 * ROWS // 4), rng.uniform(1.2, 1.6, ROWS // 4)])
    other = rng.normal(size=ROWS)
    values = {"rapidity": y, "energy": 10.0 ** (0.5 * other), "second_time": 10.0 ** (4.0 * y - 4)}
    hists.fill_feature_uncertainty(
        filled, values=values[name][:rows], uncertainty=uncertainties()[:rows]
    )
    return filled


def profile(rows: int) -> Figure:
    filled = hists.measured_response()
    energy, response = random().lognormal(1.0, 1.0, rows), random().lognormal(0.0, 0.3, rows)
    hists.fill_measured_response(filled, true_energy=energy, response=response)
    return plots.profile_figure(metrics.profile(filled), reference=1.0)


def profiles_(rows: int) -> Figure:
    found = {n: metrics.profile(slices(rows, n)) for n in ("energy", "rapidity", "second_time")}
    return plots.profiles_figure(found, method="BNN", reference=0.1)


def agreements(rows: int) -> Figure:
    filled = hists.uncertainty_pair(*METHODS)
    sigma = uncertainties()[:rows]
    hists.fill_uncertainty_pair(filled, kind="total", first=sigma, second=1.1 * sigma)
    return plots.agreement_figure(metrics.agreement(filled))


def density(rows: int) -> Figure:
    filled = hists.density(energies=(1.0, 10.0, 100.0), components=1)
    energy, drawn = random().uniform(1.0, 100.0, rows), random().normal(0.0, 0.1, rows)
    hists.fill_density(filled, energy=energy, log_response=drawn)
    p = hists.interval_probabilities(
        filled.axes["log_response"].edges,
        weights=np.ones((rows, 1)),
        means=np.zeros((rows, 1)),
        deviations=np.full((rows, 1), 0.1),
    )
    for kind in ("predicted", "component 1"):
        hists.fill_predicted_density(filled, kind=kind, energy=energy, probabilities=p)
    return plots.density_figure(metrics.densities(filled))


def pit(rows: int) -> Figure:
    filled = hists.pit(METHODS)
    for method in METHODS:
        hists.fill_pit(filled, method=method, pit=random().random(rows))
    return plots.pit_figure(metrics.pits(filled))


def coverage(rows: int) -> Figure:
    filled = hists.coverage("mu", methods=METHODS)
    for method in METHODS:
        inside = random().random(rows) < 0.68
        mu = random().uniform(0.0, 80.0, rows)
        hists.fill_coverage(filled, method=method, values=mu, inside=inside)
    return plots.coverage_figure(metrics.coverage_profile(filled))


def pulls(rows: int) -> Figure:
    found = {}
    for method in METHODS:
        filled = hists.pull()
        for kind in hists.KINDS:
            hists.fill_pull(filled, kind=kind, pull=random().normal(size=rows))
        found[method] = metrics.pulls(filled)
    return plots.pull_comparison_figure(found)


def spectra(rows: int) -> Figure:
    found = {}
    for method in METHODS:
        filled = hists.uncertainty()
        for kind in hists.KINDS:
            hists.fill_uncertainty(filled, kind=kind, uncertainty=uncertainties()[:rows])
        found[method] = metrics.uncertainty_spectrum(filled)
    return plots.uncertainty_comparison_figure(found)


def feature_input(rows: int) -> Figure:
    found = {}
    for name in ("energy", "mu"):
        filled, values = hists.feature_input(name), random().lognormal(0.0, 0.5, rows)
        hists.fill_feature_input(filled, values=values, transformed=np.log(values))
        found[name] = metrics.input_distribution(filled)
    return plots.feature_input_figure(found)


def feature_split(rows: int) -> Figure:
    histograms = {name: slices(rows, name) for name in ("energy", "rapidity")}
    region = metrics.large_uncertainty_region(histograms, 0.4)
    return plots.feature_split_figure(metrics.feature_splits(histograms, 0.4), region=region)


def scan(rows: int) -> Figure:
    found = {}
    for place, method in enumerate(METHODS):
        scanned = {}
        for size in (1e3, 1e4, 1e5):
            scanned[size] = hists.uncertainty()
            sigma = {"statistical": (1.0 + place) * size**-0.5, "systematic": 0.2 + 1.0 / size}
            for kind, value in sigma.items():
                spread = value * random().lognormal(0.0, 0.1, rows)
                hists.fill_uncertainty(scanned[size], kind=kind, uncertainty=spread)
        found[method] = metrics.scan(scanned)
    return plots.scan_figure(found, known=0.2 if rows else None)


DRAWN: dict[str, Callable[[int], Figure]] = {
    "agreement": agreements,
    "coverage": coverage,
    "density": density,
    "feature_input": feature_input,
    "feature_split": feature_split,
    "pit": pit,
    "profile": profile,
    "profiles": profiles_,
    "pull_comparison": pulls,
    "scan": scan,
    "uncertainty_comparison": spectra,
}


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def says_nothing(axes: Axes) -> bool:
    return any(text.get_text() == "No entries" for text in axes.texts)


@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_labelled_panels_filled_and_texts_apart(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = DRAWN[name](ROWS)
    assert dict(mpl.rcParams) == before
    with plots.style():
        figure.draw_without_rendering()
    for axes in panels(figure):
        spec = axes.get_subplotspec()
        assert spec is not None
        assert axes.get_xlabel()
        assert axes.get_ylabel() or not spec.is_first_col()
        assert axes.has_data()
        assert not says_nothing(axes)
        legend = axes.get_legend()
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        boxes += [legend.get_window_extent()] if legend else []
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[place + 1 :])


@pytest.mark.parametrize("name", DRAWN)
def test_results_without_entries_say_so(name: str) -> None:
    figure = DRAWN[name](0)
    assert all(says_nothing(axes) for axes in panels(figure))
    assert all(axes.get_xlabel() for axes in panels(figure))


def test_figures_without_any_result_can_be_drawn() -> None:
    for figure in (
        plots.profiles_figure({}),
        plots.agreement_figure({}),
        plots.density_figure([]),
        plots.pit_figure({}),
        plots.coverage_figure({}),
        plots.pull_comparison_figure({}),
        plots.uncertainty_comparison_figure({}),
        plots.feature_input_figure({}),
        plots.feature_split_figure({}),
        plots.scan_figure({}),
    ):
        assert all(says_nothing(axes) for axes in panels(figure))


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in [legend.get_title(), *legend.get_texts()]]


def test_the_slope_and_the_plateau_are_written_beside_the_method() -> None:
    left, right = panels(scan(ROWS))
    assert any("BNN: slope \N{MINUS SIGN}0.50" in text for text in legend_of(left))
    assert any("plateau 0.20" in text for text in legend_of(right))
    assert "Known width" in legend_of(right)


def test_the_region_is_marked_where_it_is_and_only_there() -> None:
    marked = {axes.get_xlabel(): legend_of(axes) for axes in panels(feature_split(ROWS))}
    assert "Region" in marked["$|y|$"]
    assert not any("Region" in texts for label, texts in marked.items() if label != "$|y|$")


def test_the_agreement_is_written_in_its_panel() -> None:
    title, *_ = legend_of(panels(agreements(ROWS))[0])
    assert "Ratio of medians 0.91" in title
    assert "Rank correlation" in title
