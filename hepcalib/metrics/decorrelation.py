"""How much a cut on the score sculpts the background mass, beside how much it rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import ConfigError
from hepcalib.metrics.counts import Counts, Floats, centres, divide, edges
from hepcalib.metrics.cuts import cut_at, efficiency_and_error, labelled, passing
from hepcalib.metrics.divergence import Convention, Jsd, jsd
from hepcalib.metrics.tagging import Rejection, rejection_at

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["Decorrelation", "MassSplit", "decorrelation", "in_bins", "mass_split", "split_by"]


class MassSplit(NamedTuple):
    """Background mass of all jets, and of those that pass and fail a cut; unit areas [1/GeV]."""

    tagger: str
    signal_efficiency: float
    background_efficiency: float
    edges: Floats
    centres: Floats
    inclusive: Floats
    inclusive_error: Floats
    passed: Floats
    passed_error: Floats
    failed: Floats
    failed_error: Floats
    passed_ratio: Floats  # to inclusive
    passed_ratio_error: Floats
    failed_ratio: Floats
    failed_ratio_error: Floats


class Decorrelation(NamedTuple):
    """Rejection and sculpting of one tagger at the same cut."""

    tagger: str
    rejection: Rejection
    jsd: Jsd


def decorrelation(
    histogram: Hist[Any],
    *,
    signal_efficiency: float = 0.5,
    convention: Convention = Convention(),  # noqa: B008 - immutable
) -> dict[str, Decorrelation]:
    """Rejection of each tagger, and divergence of the background mass that passes and fails.

    The divergence is taken in the bins of the convention, the rejection from all jets, outside that
    range too.

    Args:
        histogram: What `hists.score("mass", ...)` returned, filled.
        signal_efficiency: Efficiency of the cut, in (0, 1).
        convention: Definition of the divergence.

    Raises:
        ConfigError: if the bins of the convention are not sums of those of the histogram.
    """
    results = {}
    for tagger, signal, background in labelled(histogram):
        binned = in_bins(background, edges(histogram.axes[3]), convention)
        passed, failed = split_by(signal.sum(1), binned, signal_efficiency)
        rejection = rejection_at(
            signal.sum(1), background.sum(1), signal_efficiency=signal_efficiency
        )
        found = jsd(passed, failed, base=convention.base, against=convention.against)
        results[tagger] = Decorrelation(tagger, rejection, found)
    return results


def mass_split(histogram: Hist[Any], *, signal_efficiency: float = 0.5) -> dict[str, MassSplit]:
    """Background mass before the cut, and of what passes and fails it, for each tagger.

    Each is normalised to unit area on the axis. The ratios to all jets have binomial errors, since
    the jets that pass are among them.

    Args:
        histogram: What `hists.score("mass", ...)` returned, filled.
        signal_efficiency: Efficiency of the cut, in (0, 1).
    """
    axis = histogram.axes[3]
    results = {}
    for tagger, signal, background in labelled(histogram):
        inside = background.at((slice(None), slice(1, -1)))
        passed, failed = split_by(signal.sum(1), inside, signal_efficiency)
        inclusive = inside.sum(0)
        densities = [_density(part, edges(axis)) for part in (inclusive, passed, failed)]
        ratios = [_ratio(part, inclusive) for part in (passed, failed)]
        results[tagger] = MassSplit(
            tagger=tagger,
            signal_efficiency=signal_efficiency,
            background_efficiency=float(divide(passed.total, inclusive.total)),
            edges=edges(axis),
            centres=centres(axis),
            inclusive=densities[0][0],
            inclusive_error=densities[0][1],
            passed=densities[1][0],
            passed_error=densities[1][1],
            failed=densities[2][0],
            failed_error=densities[2][1],
            passed_ratio=ratios[0][0],
            passed_ratio_error=ratios[0][1],
            failed_ratio=ratios[1][0],
            failed_ratio_error=ratios[1][1],
        )
    return results


def in_bins(counts: Counts, at: Floats, convention: Convention) -> Counts:
    """Return counts (scores, bins) in the bins of a convention.

    Args:
        counts: Scores against the mass with its flow bins (scores, bins + 2).
        at: Bin edges of the mass (bins + 1,) [GeV].
        convention: Definition of the divergence.

    Raises:
        ConfigError: if its bins are not sums of these.
    """
    bins = max(int(convention.bins), 1)
    wanted = np.linspace(convention.low, convention.high, bins + 1)
    places = np.clip(np.searchsorted(at, wanted - 1e-6), 0, at.size - 1)
    exact = np.allclose(at[places], wanted, rtol=0.0, atol=1e-6)
    if convention.bins < 2 or not exact or not convention.low < convention.high:
        msg = (
            f"divergence: {convention.bins} bins from {convention.low:g} to {convention.high:g} "
            f"GeV; needed: at least 2, with edges among {at[0]:g}, {at[1]:g}, ... {at[-1]:g} GeV"
        )
        raise ConfigError(msg)
    columns = slice(places[0] + 1, places[-1] + 1)
    starts = places[:-1] - places[0]
    inside = counts.at((slice(None), columns))
    return Counts(*(np.add.reduceat(part, starts, axis=1) for part in inside))


def split_by(signal: Counts, background: Counts, efficiency: float) -> tuple[Counts, Counts]:
    """Return the background (bins,) that passes and that fails; both empty without signal.

    Args:
        signal: Scores of the signal (scores,).
        background: Scores against the mass (scores, bins).
        efficiency: Efficiency of the cut for the signal, in (0, 1).
    """
    cut = cut_at(signal, efficiency)
    if cut is None:
        nothing = np.zeros(background.values.shape[1])
        return Counts(nothing, nothing), Counts(nothing, nothing)
    passed, everything = passing(background, cut), background.sum(0)
    failed = Counts(everything.values - passed.values, everything.variances - passed.variances)
    return passed, failed


def _density(part: Counts, at: Floats) -> tuple[Floats, Floats]:
    area = np.diff(at) * (part.total if part.entries > 0.0 else np.nan)
    return part.values / area, np.sqrt(np.clip(part.variances, 0.0, None)) / area


def _ratio(part: Counts, inclusive: Counts) -> tuple[Floats, Floats]:
    """Return the ratio of two spectra of unit area, the one a part of the other."""
    efficiency, error = efficiency_and_error(part, inclusive)
    overall = divide(part.total, inclusive.total)
    return divide(efficiency, overall), divide(error, overall)
