"""How far the efficiency of the background is from flat in the mass."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hepcalib.metrics.bootstrap import drawn_cells
from hepcalib.metrics.counts import Counts, Floats, divide
from hepcalib.metrics.divergence import independent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Flatness", "flatness"]

_PERCENTILES = (15.865525, 50.0, 84.134475)


class Flatness(NamedTuple):
    """Largest relative deviation of the efficiency in a bin, and what chance alone would give."""

    background_efficiency: float
    deviation: float
    deviation_error: float
    at: float  # centre of the bin of the largest deviation
    expected: float  # median if the efficiency were flat
    expected_low: float  # 68 % of the cases are between these
    expected_high: float
    bins: int  # with enough entries


def flatness(
    passed: Counts,
    failed: Counts,
    centres: Floats,
    *,
    minimum: float = 10.0,
    replicas: int = 300,
    seed: int = 0,
) -> Flatness:
    r"""Largest deviation of the efficiency in the bins of the mass from that of all of them.

    .. math:: \max_m | \epsilon_B(m) / \epsilon_B - 1 |

    The largest of many deviations is never 0: `expected` is what a flat efficiency would show in
    these numbers of jets. The error is the spread over Poisson replicas of the jets.

    Args:
        passed: Mass of the jets that pass (bins,).
        failed: Mass of the jets that fail (bins,).
        centres: Bin centres (bins,) [GeV].
        minimum: Fewest effective entries that should pass in a bin that counts.
        replicas: Number of replicas.
        seed: Seed of the replicas.

    Returns:
        NaN if nothing passes, or no bin has enough.
    """
    everything = Counts(passed.values + failed.values, passed.variances + failed.variances)
    efficiency = float(divide(passed.total, everything.total))
    entries = np.nan_to_num(divide(everything.values**2, everything.variances))
    kept = (everything.values > 0.0) & (entries * efficiency >= minimum)
    if not (efficiency > 0.0 and kept.any()):
        return Flatness(efficiency, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    p, f = (
        drawn_cells(part.values, part.variances, replicas=replicas, seed=2 * seed + place)
        for place, part in enumerate((passed, failed))
    )
    found = _deviations(p, f, kept)
    largest = found.max(axis=1)
    drawn = independent(passed, failed, replicas=replicas, seed=seed)
    chance = _deviations(*drawn, kept).max(axis=1)
    low, middle, high = np.percentile(chance, _PERCENTILES)
    return Flatness(
        background_efficiency=efficiency,
        deviation=float(largest[0]),
        deviation_error=float(largest[1:].std(ddof=1)),
        at=float(centres[kept][found[0].argmax()]),
        expected=float(middle),
        expected_low=float(low),
        expected_high=float(high),
        bins=int(kept.sum()),
    )


def _deviations(passed: Floats, failed: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Return the relative deviations of the efficiency, (replicas, bins) -> (replicas, kept)."""
    overall = divide(passed.sum(axis=1), (passed + failed).sum(axis=1))[:, None]
    local = divide(passed[:, kept], (passed + failed)[:, kept])
    return np.nan_to_num(np.abs(divide(local, overall) - 1.0))
