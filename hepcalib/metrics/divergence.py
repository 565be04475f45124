"""Jensen-Shannon divergence of binned samples, and what statistics alone makes of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from hepcalib.exceptions import ConfigError, ShapeError, suggestion
from hepcalib.metrics.bootstrap import drawn_cells
from hepcalib.metrics.counts import Counts, Floats, divide

__all__ = ["Convention", "Jsd", "JsdBand", "independent", "jsd", "jsd_band", "jsd_limit"]

Base: TypeAlias = Literal["bits", "nats"]
Against: TypeAlias = Literal["fail", "inclusive"]

_UNITS = {"bits": 1.0, "nats": float(np.log(2.0))}  # of a bit
_SIGMA = (15.865525, 84.134475)  # percentiles


class Convention(NamedTuple):
    """How the divergence of the mass is defined; publications differ in every part of it.

    The first logarithm is to base 2 or e; what passes is held against what fails or against all
    jets; the mass is counted in so many bins of equal width from `low` to `high` [GeV].
    """

    base: Base = "bits"
    against: Against = "fail"
    bins: int = 50
    low: float = 50.0
    high: float = 300.0


class Jsd(NamedTuple):
    """Jensen-Shannon divergence of two samples, and what statistics alone would give."""

    jsd: float
    jsd_error: float
    one_over: float
    one_over_error: float
    limit: float  # expected for independent samples of this size
    one_over_limit: float
    bins: int  # populated ones
    passed_entries: float
    failed_entries: float


class JsdBand(NamedTuple):
    """Divergences of samples that differ by chance only: mean and central 68 %."""

    mean: float
    low: float
    high: float
    one_over: float  # 1 / mean
    one_over_low: float
    one_over_high: float


_NO_BAND = JsdBand(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)


def jsd(passed: Counts, failed: Counts, *, base: Base = "bits", against: Against = "fail") -> Jsd:
    r"""Jensen-Shannon divergence of two binned samples: 0 if identical, 1 bit if disjoint.

    .. math:: JSD = [KL(P \| Q) + KL(R \| Q)] / 2, \quad Q = (P + R) / 2

    where R is what fails, or all jets, P and F in their proportions; 1 / JSD in bits is ln 2 times
    1 / JSD in nats. With L the limit of `jsd_limit`, the variance is the first-order one, less its
    bias :math:`2 L^2/(B-1)`; it is at least that much, the variance for independent samples. With
    fewer than about ten jets per bin it is up to 40 % too small. The value is not corrected for L.

    Reference: arXiv:2001.05310 (bits, against fail), arXiv:2307.05187 (against inclusive).

    Args:
        passed: Mass of the jets that pass (bins,).
        failed: Mass of the jets that fail (bins,).
        base: bits or nats.
        against: What R is: fail or inclusive.

    Returns:
        NaN if either is empty. Bins with a negative sum of weights count as empty.

    Raises:
        ShapeError: if the numbers of bins differ.
        ConfigError: if base or against is unknown.
    """
    limit = jsd_limit(passed, failed, base=base, against=against)
    bins, sizes = _populated(passed, failed), (passed.entries, failed.entries)
    if min(sizes) <= 0.0:
        return Jsd(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, bins, *sizes)
    p, f = _shares(passed.values), _shares(failed.values)
    share = _passing_share(passed, failed)
    mixed = share if against == "inclusive" else 0.0
    reference = mixed * p + (1.0 - mixed) * f
    along_p, along_r = _logarithms(p, reference)
    slopes = (along_p + mixed * along_r, (1.0 - mixed) * along_r)
    first_order = sum(
        (part @ slope**2 - (part @ slope) ** 2) / size
        for part, slope, size in zip((p, f), slopes, sizes, strict=True)
    )
    if against == "inclusive":
        first_order += share * (1.0 - share) / sum(sizes) * ((p - f) @ along_r) ** 2
    floor = 2.0 * (limit / _UNITS[base]) ** 2 / max(bins - 1, 1)
    value = float(p @ along_p + reference @ along_r) * _UNITS[base]
    error = float(np.sqrt(max(first_order - floor, floor))) * _UNITS[base]
    return Jsd(
        jsd=value,
        jsd_error=error,
        one_over=float(divide(1.0, value)),
        one_over_error=float(divide(error, value**2)),
        limit=limit,
        one_over_limit=float(divide(1.0, limit)),
        bins=bins,
        passed_entries=passed.entries,
        failed_entries=failed.entries,
    )


def jsd_limit(
    passed: Counts, failed: Counts, *, base: Base = "bits", against: Against = "fail"
) -> float:
    r"""Expected divergence of two independent samples of the same distribution.

    .. math:: E[JSD] = \frac{B - 1}{8 \ln 2} (1 / n_P + 1 / n_F) \ \text{bits}

    with B populated bins and effective numbers of entries; against all jets, of which a share e
    passes, :math:`(1 - e)^2` of it. It holds for some jets in each bin, and for weights that do not
    depend on the mass; `jsd_band` needs neither.

    Args:
        passed: One sample (bins,).
        failed: The other (bins,).
        base: bits or nats.
        against: fail or inclusive.

    Returns:
        NaN if either is empty.

    Raises:
        ShapeError: if the numbers of bins differ.
        ConfigError: if base or against is unknown.
    """
    for value, known in ((base, _UNITS), (against, ("fail", "inclusive"))):
        if value not in known:
            msg = f"divergence: unknown convention '{value}'. {suggestion(value, known)}"
            raise ConfigError(msg)
    if passed.values.shape != failed.values.shape:
        msg = (
            f"the samples have {passed.values.shape} and {failed.values.shape} bins; "
            "they must have the same bins."
        )
        raise ShapeError(msg)
    if min(passed.entries, failed.entries) <= 0.0:
        return float("nan")
    inverse = 1.0 / passed.entries + 1.0 / failed.entries
    if against == "inclusive":
        inverse *= (1.0 - _passing_share(passed, failed)) ** 2
    bits = max(_populated(passed, failed) - 1, 0) / (8.0 * np.log(2.0)) * inverse
    return float(bits * _UNITS[base])


def jsd_band(
    passed: Counts,
    failed: Counts,
    *,
    base: Base = "bits",
    against: Against = "fail",
    replicas: int = 300,
    seed: int = 0,
) -> JsdBand:
    """Divergences of replicas in which passing does not depend on the mass.

    Args:
        passed: Mass of the jets that pass (bins,).
        failed: Mass of the jets that fail (bins,).
        base: bits or nats.
        against: fail or inclusive.
        replicas: Number of replicas.
        seed: Seed of the replicas.

    Returns:
        NaN if either is empty.

    Raises:
        ShapeError: if the numbers of bins differ.
        ConfigError: if base or against is unknown.
    """
    limit = jsd_limit(passed, failed, base=base, against=against)
    if np.isnan(limit):
        return _NO_BAND
    drawn = independent(passed, failed, replicas=replicas, seed=seed)
    filled = (drawn[0].sum(axis=1) > 0.0) & (drawn[1].sum(axis=1) > 0.0)
    if not filled.any():
        return _NO_BAND
    p, f = (_shares(part[filled]) for part in drawn)
    mixed = _passing_share(passed, failed) if against == "inclusive" else 0.0
    reference = mixed * p + (1.0 - mixed) * f
    along_p, along_r = _logarithms(p, reference)
    found = (p * along_p + reference * along_r).sum(axis=1) * _UNITS[base]
    mean, (low, high) = float(found.mean()), np.percentile(found, _SIGMA)
    return JsdBand(
        mean=mean,
        low=float(low),
        high=float(high),
        one_over=float(divide(1.0, mean)),
        one_over_low=float(divide(1.0, high)),
        one_over_high=float(divide(1.0, low)),
    )


def independent(
    passed: Counts, failed: Counts, *, replicas: int, seed: int
) -> tuple[Floats, Floats]:
    """Return replicas of what passes and fails with the spectrum of both, (replicas, bins) each.

    As if the labels were given to the jets again at random: the numbers of jets in a bin are those
    of a multinomial distribution, but for their sum, which a share does not depend on.
    """
    values, variances = passed.values + failed.values, passed.variances + failed.variances
    drawn = []
    for place, part in enumerate((passed, failed)):
        scales = (
            divide(part.values.sum(), values.sum()),
            divide(part.variances.sum(), variances.sum()),
        )
        cells = drawn_cells(
            values * scales[0], variances * scales[1], replicas=replicas, seed=2 * seed + place
        )
        drawn.append(cells[1:])
    return drawn[0], drawn[1]


def _shares(values: Floats) -> Floats:
    """Return the shares of the bins, the last axis."""
    clipped = np.clip(values, 0.0, None)
    return np.asarray(clipped / clipped.sum(axis=-1, keepdims=True))


def _logarithms(p: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return half the binary logarithms of p and r over their middle; 0 where they are 0."""
    middle = 0.5 * (p + r)
    ratios = (np.where(part > 0.0, divide(part, middle), 1.0) for part in (p, r))
    first, second = (0.5 * np.log2(ratio) for ratio in ratios)
    return first, second


def _passing_share(passed: Counts, failed: Counts) -> float:
    return float(divide(passed.total, passed.total + failed.total))


def _populated(passed: Counts, failed: Counts) -> int:
    return int(np.count_nonzero((passed.values > 0.0) | (failed.values > 0.0)))
