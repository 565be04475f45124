"""All figures of merit of decorrelated taggers, for all jets and in bins of a variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import ShapeError
from hepcalib.metrics.binned_correlation import DistanceCorrelation, binned_distance_correlation
from hepcalib.metrics.counts import Counts, Floats, centres, counts, edges
from hepcalib.metrics.cuts import labelled, ranks
from hepcalib.metrics.decorrelation import in_bins, split_by
from hepcalib.metrics.divergence import Convention, Jsd, JsdBand, jsd, jsd_band
from hepcalib.metrics.flatness import Flatness, flatness
from hepcalib.metrics.tagging import Rejection, rejection_at, roc_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = [
    "DecorrelationMerit",
    "DecorrelationProfile",
    "decorrelation_merits",
    "decorrelation_profiles",
]


class DecorrelationMerit(NamedTuple):
    """What a tagger separates, and how it sculpts the mass of the background.

    Divergence and flatness are those of the cut with the first of the signal efficiencies.
    """

    tagger: str
    signal_entries: float
    background_entries: float
    auc: float
    auc_error: float
    rejections: tuple[Rejection, ...]  # one for each signal efficiency
    jsd: Jsd
    band: JsdBand  # if score and mass were independent
    flatness: Flatness
    correlation: DistanceCorrelation  # of the rank of the score and the mass


class DecorrelationProfile(NamedTuple):
    """Figures of merit of a tagger in each bin of a variable, with a cut of its own in each."""

    tagger: str
    variable: str
    edges: Floats
    centres: Floats
    merits: tuple[DecorrelationMerit, ...]

    def rejection(self, place: int = 0) -> tuple[Floats, Floats]:
        """Return the rejections at one of the signal efficiencies with their errors, (bins,)."""
        found = [merit.rejections[place] for merit in self.merits]
        return _pairs((one.rejection, one.rejection_error) for one in found)

    def one_over_jsd(self) -> tuple[Floats, Floats]:
        """Return 1 / JSD with its errors, (bins,)."""
        return _pairs((merit.jsd.one_over, merit.jsd.one_over_error) for merit in self.merits)

    def flatness(self) -> tuple[Floats, Floats]:
        """Return the largest relative deviation of the efficiency with its errors, (bins,)."""
        found = [merit.flatness for merit in self.merits]
        return _pairs((one.deviation, one.deviation_error) for one in found)

    def correlation(self) -> tuple[Floats, Floats]:
        """Return the squared distance correlation with its errors, (bins,)."""
        found = [merit.correlation for merit in self.merits]
        return _pairs((one.squared, one.squared_error) for one in found)


def decorrelation_merits(
    histogram: Hist[Any],
    *,
    signal_efficiencies: Sequence[float] = (0.5, 0.3),
    convention: Convention = Convention(),  # noqa: B008 - immutable
    replicas: int = 300,
    seed: int = 0,
) -> dict[str, DecorrelationMerit]:
    """Figures of merit of each tagger.

    Rejections and the area under the ROC curve are those of all jets, divergence, flatness and
    correlation those of the background in the bins of the convention.

    Args:
        histogram: What `hists.score("mass", ...)` returned, filled.
        signal_efficiencies: Efficiencies of the cuts, in (0, 1); the first is that of the others.
        convention: Definition of the divergence.
        replicas: Number of replicas, of the band and of the errors of the flatness.
        seed: Seed of the replicas.

    Raises:
        ConfigError: if the bins of the convention are not sums of those of the histogram.
    """
    mass = histogram.axes[3]
    found = {}
    for tagger, signal, background in labelled(histogram):
        found[tagger] = _merit(
            tagger,
            signal.sum(1),
            background,
            at=edges(mass),
            efficiencies=signal_efficiencies,
            convention=convention,
            replicas=replicas,
            seed=seed,
        )
    return found


def decorrelation_profiles(
    signal: Hist[Any],
    background: Hist[Any],
    *,
    signal_efficiencies: Sequence[float] = (0.5, 0.3),
    convention: Convention = Convention(),  # noqa: B008 - immutable
    replicas: int = 100,
    seed: int = 0,
) -> dict[str, DecorrelationProfile]:
    """Figures of merit of each tagger in bins of a variable.

    In each bin the cut has the signal efficiency there.

    Args:
        signal: What `hists.score(variable, ...)` returned, filled.
        background: What `hists.sculpting(variable, ...)` returned, filled, with the same ranks.
        signal_efficiencies: Efficiencies of the cuts, in (0, 1); the first is that of the others.
        convention: Definition of the divergence.
        replicas: Number of replicas, of the band and of the errors of the flatness.
        seed: Seed of the replicas.

    Raises:
        ShapeError: if the axes of the histograms differ.
        ConfigError: if the bins of the convention are not sums of those of the histogram.
    """
    if [signal.axes[place] for place in (0, 2, 3)] != [background.axes[p] for p in (0, 1, 3)]:
        msg = "signal and background: taggers, scores or bins differ; they must have the same"
        raise ShapeError(msg)
    axis, everything = signal.axes[3], counts(background)
    found = {}
    for place, (tagger, scores, _) in enumerate(labelled(signal)):
        merits = [
            _merit(
                tagger,
                scores.at((slice(None), bin_ + 1)),
                everything.at((place, slice(None), slice(None), bin_ + 1)),
                at=edges(background.axes[2]),
                efficiencies=signal_efficiencies,
                convention=convention,
                replicas=replicas,
                seed=seed,
            )
            for bin_ in range(axis.size)
        ]
        found[tagger] = DecorrelationProfile(
            tagger, axis.name, edges(axis), centres(axis), tuple(merits)
        )
    return found


def _merit(
    tagger: str,
    signal: Counts,
    background: Counts,
    *,
    at: Floats,
    efficiencies: Sequence[float],
    convention: Convention,
    replicas: int,
    seed: int,
) -> DecorrelationMerit:
    """Return the figures of merit for scores of the signal and scores against mass with flow."""
    inclusive, binned = background.sum(1), in_bins(background, at, convention)
    steps = np.linspace(convention.low, convention.high, convention.bins + 1)
    middle = 0.5 * (steps[1:] + steps[:-1])
    passed, failed = split_by(signal, binned, efficiencies[0])
    curve = roc_curve(signal, inclusive)
    return DecorrelationMerit(
        tagger=tagger,
        signal_entries=signal.entries,
        background_entries=inclusive.entries,
        auc=curve.auc,
        auc_error=curve.auc_error,
        rejections=tuple(
            rejection_at(signal, inclusive, signal_efficiency=e) for e in efficiencies
        ),
        jsd=jsd(passed, failed, base=convention.base, against=convention.against),
        band=jsd_band(
            passed,
            failed,
            base=convention.base,
            against=convention.against,
            replicas=replicas,
            seed=seed,
        ),
        flatness=flatness(passed, failed, middle, replicas=replicas, seed=seed),
        correlation=binned_distance_correlation(binned, ranks(binned.sum(1)), middle),
    )


def _pairs(found: Any) -> tuple[Floats, Floats]:
    values, errors = np.array([*found], dtype=np.float64).reshape(-1, 2).T
    return values, errors
