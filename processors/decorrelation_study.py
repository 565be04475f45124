"""The study of decorrelated taggers: their table, and the figures of one training per method."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import metrics, plots
from hepcalib.study import Study

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hist import Hist
    from matplotlib.figure import Figure

__all__ = ["PROFILES", "comparison"]

PROFILES = ("mass", "mu", "n_pv")
"""Variables that the efficiency is shown against."""

_PASSING = 0.1  # background efficiency of the cut in the figures against pile-up
_LIMITED = tuple(np.geomspace(5e-4, 0.95, 40).tolist())  # background efficiencies of the band


def comparison(histograms: Mapping[str, Hist[Any]]) -> Study:
    """Return the study of scores against mass, pile-up and in slices of variables."""
    masses = histograms["score_mass"]
    merits = metrics.decorrelation_merits(masses)
    spreads = metrics.seed_spreads(merits)
    found: dict[str, Any] = {
        "table": _table(merits, spreads),
        "merit": merits,
        "seeds": spreads,
        "conventions": _conventions(masses),
        "flatness": metrics.efficiency_flatness(masses),
        "divergence": metrics.sculpting_curves(masses),
        "limit": metrics.limit_curve(masses, background_efficiencies=_LIMITED),
    }
    for variable in PROFILES:
        found[f"efficiency_{variable}"] = metrics.efficiency_profile(
            histograms[f"score_{variable}"]
        )
    for key in histograms:
        if key.startswith("slices_"):
            variable = key.removeprefix("slices_")
            found[f"profile_{variable}"] = metrics.decorrelation_profiles(
                histograms[key], histograms[f"sculpting_{variable}"]
            )
    return Study(found, _figures(histograms, found), _summary(merits, spreads))


def _figures(histograms: Mapping[str, Hist[Any]], found: Mapping[str, Any]) -> dict[str, Figure]:
    methods = metrics.methods(found["merit"])
    repeated = {name for name, method in methods.items() if method.kind == "seed"}
    chosen = methods.keys() - repeated or repeated  # seeds are shown beside the paths only
    shown = [method.representative for name, method in methods.items() if name in chosen]
    masses, split = histograms["score_mass"], metrics.mass_split(histograms["score_mass"])
    drawn = {
        "decorrelation": plots.decorrelation_paths_figure(methods, found["merit"], found["limit"]),
        "divergence": plots.sculpting_curve_figure(
            _of(shown, found["divergence"]), metrics.limit_curve(masses)
        ),
        "roc": plots.roc_figure(_of(shown, metrics.roc(masses))),
    }
    for variable in PROFILES[1:]:
        signal, background = (
            metrics.efficiency_profile(
                histograms[f"score_{variable}"], label=label, background_efficiencies=(_PASSING,)
            )
            for label in ("signal", "background")
        )
        drawn[f"efficiency_{variable}"] = plots.efficiency_comparison_figure(
            _of(shown, signal), _of(shown, background)
        )
    for key in found:
        if key.startswith("profile_"):
            drawn[key] = plots.decorrelation_profile_figure(_of(shown, found[key]))
    for tagger, stem in _stems(shown).items():
        drawn[f"mass_{stem}"] = plots.mass_sculpting_figure(_of([tagger], split))
        drawn[f"efficiency_mass_{stem}"] = plots.efficiency_figure(
            _of([tagger], found["efficiency_mass"])
        )
    return drawn


def _conventions(histogram: Hist[Any]) -> dict[str, dict[str, metrics.Jsd]]:
    """Return the divergence of each tagger in each of the conventions that publications use."""
    found = {}
    for convention in (
        metrics.Convention(),
        metrics.Convention(base="nats"),
        metrics.Convention(against="inclusive"),
        metrics.Convention(base="nats", against="inclusive"),
    ):
        results = metrics.decorrelation(histogram, convention=convention)
        name = f"{convention.base}, pass/{convention.against}"
        found[name] = {tagger: result.jsd for tagger, result in results.items()}
    return found


def _table(
    merits: Mapping[str, metrics.DecorrelationMerit], spreads: Mapping[str, metrics.SeedSpread]
) -> dict[str, dict[str, float]]:
    """Return the main numbers of each training; those of several seeds with their spread."""
    rows: dict[str, dict[str, float]] = {}
    for name, merit in merits.items():
        flat = merit.flatness
        rows[name] = {
            "auc": merit.auc,
            "auc_error": merit.auc_error,
            **_rejections(merit),
            "one_over_jsd": merit.jsd.one_over,
            "one_over_jsd_error": merit.jsd.one_over_error,
            "one_over_jsd_limit": merit.jsd.one_over_limit,
            "one_over_jsd_independent": merit.band.one_over,
            "one_over_jsd_independent_low": merit.band.one_over_low,
            "one_over_jsd_independent_high": merit.band.one_over_high,
            "flatness": flat.deviation,
            "flatness_error": flat.deviation_error,
            "flatness_if_flat": flat.expected,
            "distance_correlation": merit.correlation.squared,
            "distance_correlation_error": merit.correlation.squared_error,
        }
    for name, spread in spreads.items():
        row = spread._asdict()
        points = [100.0 * r.signal_efficiency for r in next(iter(merits.values())).rejections]
        for place, point in enumerate(points):
            row[f"R{point:g}"] = spread.rejections[place]
            row[f"R{point:g}_spread"] = spread.rejection_spreads[place]
        dropped = ("method", "rejections", "rejection_spreads")
        rows[f"{name}, mean of seeds"] = {k: v for k, v in row.items() if k not in dropped}
    return rows


def _rejections(merit: metrics.DecorrelationMerit) -> dict[str, float]:
    found = dict[str, float]()
    for one in merit.rejections:
        name = f"R{100.0 * one.signal_efficiency:g}"
        found |= {name: one.rejection, f"{name}_error": one.rejection_error}
    return found


def _summary(
    merits: Mapping[str, metrics.DecorrelationMerit], spreads: Mapping[str, metrics.SeedSpread]
) -> dict[str, str]:
    lines = {}
    for name, merit in merits.items():
        band, flat, correlation = merit.band, merit.flatness, merit.correlation
        words = [f"AUC {merit.auc:.4f} +- {merit.auc_error:.4f}"]
        for one in merit.rejections:
            point = 100.0 * one.signal_efficiency
            words.append(f"R{point:g} {one.rejection:.1f} +- {one.rejection_error:.1f}")
        words += [
            f"1/JSD {merit.jsd.one_over:.1f} +- {merit.jsd.one_over_error:.1f}",
            f"if independent {band.one_over_low:.0f} to {band.one_over_high:.0f}",
            f"max|e(m)/e - 1| {flat.deviation:.2f} +- {flat.deviation_error:.2f}",
            f"if flat {flat.expected:.2f}",
            f"dCor^2 {correlation.squared:.5f} +- {correlation.squared_error:.5f}",
        ]
        lines[name] = ", ".join(words)
    for name, spread in spreads.items():
        rejection = f"{spread.rejections[0]:.1f}, spread {spread.rejection_spreads[0]:.1f}"
        lines[f"{name}, mean of {spread.seeds} seeds"] = (
            f"R50 {rejection}; "
            f"1/JSD {spread.one_over_jsd:.1f}, spread {spread.one_over_jsd_spread:.1f}; "
            f"AUC {spread.auc:.4f}, spread {spread.auc_spread:.4f}"
        )
    return lines


def _of(names: Iterable[str], results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: results[name] for name in names}


def _stems(names: Iterable[str]) -> dict[str, str]:
    """Return a name of files for each tagger, all different."""
    stems: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"\W+", "_", name).strip("_") or "tagger"
        while stem in stems.values():
            stem += "_"
        stems[name] = stem
    return stems
