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


def jsd(
    passed: Counts,
    failed: Counts,
    *,
    base: Base = "bits",
    against: Against = "fail",
    replicas: int = 300,
    seed: int = 0,
) -> Jsd:
    r"""Jensen-Shannon divergence of two binned samples: 0 if identical, 1 bit if disjoint.

    .. math:: JSD = [KL(P \| Q) + KL(R \| Q)] / 2, \quad Q = (P + R) / 2

    where R is what fails, or all jets, P and F in their proportions; 1 / JSD in bits is ln 2 times
    1 / JSD in nats. The value is not corrected for its limit.

    Errors are the spread of Poisson replicas of spectra whose divergence, with the noise of the
    replicas, is the observed one: both spectra are moved towards that of all jets by
    :math:`\lambda = \sqrt{1 - J_0 / JSD}`, with the mean :math:`J_0` of replicas in which passing
    does not depend on the mass. Replicas of the observed spectra would have the noise twice: near
    the limit their 1 / JSD scatters by half of what it should.

    Reference: arXiv:2001.05310 (bits, against fail), arXiv:2307.05187 (against inclusive).

    Args:
        passed: Mass of the jets that pass (bins,).
        failed: Mass of the jets that fail (bins,).
        base: bits or nats.
        against: What R is: fail or inclusive.
        replicas: Number of replicas.
        seed: Seed of the replicas.

    Returns:
        NaN if either is empty. Bins with a negative sum of weights count as empty. The error of
        1 / JSD is half of the central 68 % of the replicas.

    Raises:
        ShapeError: if the numbers of bins differ.
        ConfigError: if base or against is unknown.
    """
    limit = jsd_limit(passed, failed, base=base, against=against)
    bins, sizes = _populated(passed, failed), (passed.entries, failed.entries)
    if min(sizes) <= 0.0:
        return Jsd(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, bins, *sizes)
    unit = _UNITS[base]
    value = float(_divergences(passed.values[None], failed.values[None], against)[0]) * unit
    found = _replicas(passed, failed, value / unit, against, replicas=replicas, seed=seed) * unit
    error = float(found.std(ddof=1)) if found.size > 1 else np.nan
    return Jsd(
        jsd=value,
        jsd_error=error,
        one_over=float(divide(1.0, value)),
        one_over_error=_error_of_inverse(found, value, error),
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
    found = _divergences(*drawn, against) * _UNITS[base]
    if not found.size:
        return _NO_BAND
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
    found = [
        drawn_cells(*part, replicas=replicas, seed=2 * seed + place)[1:]
        for place, part in enumerate(_pooled(passed, failed))
    ]
    return found[0], found[1]


def _pooled(passed: Counts, failed: Counts) -> tuple[Counts, Counts]:
    """Return what would pass and fail if that did not depend on the bin."""
    values, variances = passed.values + failed.values, passed.variances + failed.variances
    found = [
        Counts(
            values * divide(part.values.sum(), values.sum()),
            variances * divide(part.variances.sum(), variances.sum()),
        )
        for part in (passed, failed)
    ]
    return found[0], found[1]


def _replicas(
    passed: Counts, failed: Counts, value: float, against: Against, *, replicas: int, seed: int
) -> Floats:
    """Return divergences [bits] of replicas that have this one in the mean, (replicas,)."""
    null = _divergences(*independent(passed, failed, replicas=replicas, seed=seed), against)
    noise = float(null.mean()) if null.size else 0.0
    kept = float(np.sqrt(np.clip(1.0 - divide(noise, value), 0.0, 1.0))) if value > 0.0 else 0.0
    cells = []
    for place, (part, pooled) in enumerate(
        zip((passed, failed), _pooled(passed, failed), strict=True)
    ):
        moved = (kept * own + (1.0 - kept) * all_ for own, all_ in zip(part, pooled, strict=True))
        cells.append(drawn_cells(*moved, replicas=replicas, seed=2 * seed + place)[1:])
    return _divergences(cells[0], cells[1], against)


def _error_of_inverse(found: Floats, value: float, error: float) -> float:
    """Return half the central 68 % of the inverse; of the first order if that has no end."""
    if not (value > 0.0 and found.size):
        return float("nan")
    low, high = np.percentile(found, _SIGMA)
    return float(0.5 * (1.0 / low - 1.0 / high)) if low > 0.0 else error / value**2


def _divergences(passed: Floats, failed: Floats, against: Against) -> Floats:
    """Return divergences [bits] of pairs (replicas, bins), of those where neither is empty."""
    p, f = (np.clip(part, 0.0, None) for part in (passed, failed))
    sums = p.sum(axis=1), f.sum(axis=1)
    filled = (sums[0] > 0.0) & (sums[1] > 0.0)
    p, f = (part[filled] / total[filled, None] for part, total in zip((p, f), sums, strict=True))
    if against == "inclusive":
        whole = passed[filled].sum(axis=1), failed[filled].sum(axis=1)
        mixed = np.clip(divide(whole[0], whole[0] + whole[1]), 0.0, 1.0)[:, None]
        f = mixed * p + (1.0 - mixed) * f
    middle = 0.5 * (p + f)
    terms = [np.where(x > 0.0, divide(x, middle), 1.0) for x in (p, f)]
    return np.asarray(0.5 * (p * np.log2(terms[0]) + f * np.log2(terms[1])).sum(axis=1))


def _passing_share(passed: Counts, failed: Counts) -> float:
    return float(divide(passed.total, passed.total + failed.total))


def _populated(passed: Counts, failed: Counts) -> int:
    return int(np.count_nonzero((passed.values > 0.0) | (failed.values > 0.0)))
