"""Convolved substructure: the shape at each mass is that of the lowest mass, smeared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammainc

from hepcalib.decorrelation.decorrelator import Decorrelator, background, levels
from hepcalib.exceptions import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["ConvolvedSubstructure"]

_MASSES = 64  # nodes of the tabulated distribution functions
_FEWEST = 50  # jets of a mass bin that counts
_LONGEST = 8192  # bins of a table, whose making takes the square of their number
_EDGE = 1e-7  # probabilities closer to 0 or 1 are told apart by the score alone


class _Binned(NamedTuple):
    """Score histograms of the mass bins that have enough jets, the lowest mass first."""

    masses: Floats  # (bins,) mean mass
    counts: Floats  # (bins, score bins), in effective jets
    width: float  # of a score bin
    low: float  # where the first one begins


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvolvedSubstructure(Decorrelator):
    r"""The quantile of a score in its mass bin, by a smearing that is known at every mass.

    .. math::
        p(x | m) = p(x | m_0) \otimes F(x; \alpha, \Omega(m)), \quad
        F = \frac{(\alpha / \Omega)^\alpha}{\Gamma(\alpha)} x^{\alpha - 1} e^{-\alpha x / \Omega},
        \quad \Omega = c_1 \Big(\frac{1}{m_0} - \frac{1}{m}\Big) + c_2 \ln\frac{m}{m_0}

    with the lowest mass m_0. The new score is the distribution function of x at the mass of the
    jet, as if it were mapped to the shape at m_0. Three numbers describe all masses, where a map
    needs a percentile for each: few jets suffice, if the shapes are of this kind. A score that
    falls with the mass is turned round first.

    Reference: ATL-PHYS-PUB-2018-014, arXiv:1710.06859.

    Args:
        sign: 1 for a score that rises with the mass, -1 for one that falls.
        alpha: Shape alpha of the smearing.
        slopes: c_1 [GeV] and c_2.
        reference: m_0 [GeV].
        low: Lowest score (turned round if it falls) of the shape at m_0.
        width: Width of its bins.
        shape: Its probabilities per bin.
    """

    sign: float
    alpha: float
    slopes: Floats
    reference: float
    low: float
    width: float
    shape: Floats

    @classmethod
    def fit(
        cls,
        score: ArrayLike,
        nuisances: Mapping[str, ArrayLike],
        *,
        weight: ArrayLike | None = None,
        mass_width: float = 10.0,
        bins: int = 100,
    ) -> Self:
        """Fit shape and smearing to background jets, by maximum likelihood in bins.

        Args:
            score: Scores (rows,).
            nuisances: The mass (rows,) [GeV], positive.
            weight: Event weights (rows,), not negative.
            mass_width: Width of the mass bins [GeV].
            bins: Bins of the score between its extremes.

        Raises:
            ConfigError: if an option is out of range or there is not one nuisance.
            DataError: if fewer than three mass bins have 50 jets, a mass is not positive, or as for
                `background`.
        """
        sample = background(score, nuisances, weight, where="convolved", variables=(1,))
        if bins < 10 or not mass_width > 0:
            msg = f"convolved: bins {bins}, mass_width {mass_width}; needed: at least 10, positive"
            raise ConfigError(msg)
        mass = sample.values[:, 0]
        if (mass <= 0).any():
            msg = f"convolved: mass {mass.min()} GeV; needed: positive"
            raise DataError(msg)
        rises = np.cov(mass, sample.score, aweights=sample.weight)[0, 1] >= 0
        sign = 1.0 if rises else -1.0
        binned = _binned(sign * sample.score, mass, sample.weight, width=mass_width, bins=bins)
        alpha, slopes = _fitted(binned)
        made = cls(
            variables=tuple(nuisances),
            ranges=sample.ranges,
            table=np.zeros(0),
            sign=sign,
            alpha=alpha,
            slopes=slopes,
            reference=float(binned.masses[0]),
            low=binned.low,
            width=binned.width,
            shape=binned.counts[0] / binned.counts[0].sum(),
        )
        moved = made.values(sample.score, sample.values)
        return replace(made, table=levels(moved, sample.weight))

    def smearing(self, mass: ArrayLike) -> Floats:
        """Return the mean shift Omega of the score at masses [GeV], in units of the score."""
        return _omega(np.asarray(mass, dtype=np.float64), self.reference, self.slopes)

    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return the logit of the distribution function at the mass, rising with the score."""
        low, high = self.ranges[0]
        masses = np.linspace(low, high, _MASSES) if high > low else np.array([low, low + 1.0])
        omega = self.smearing(masses)
        length = len(self.shape) + np.ceil(12.0 * omega.max() / self.width)
        if not length <= _LONGEST:
            msg = f"the smearing {omega.max()} is {length} bins of {self.width}; needed: {_LONGEST}"
            raise ConfigError(msg)
        length = int(length)
        tables = np.stack(
            [_distribution(self.shape, self.width, self.alpha, w, length) for w in omega]
        )
        place = np.interp(nuisances[:, 0], masses, np.arange(len(masses)))
        left = np.minimum(place.astype(np.int64), len(masses) - 2)
        share = place - left
        x = np.clip((self.sign * score - self.low) / self.width, 0.0, length)
        cell = np.minimum(x.astype(np.int64), length - 1)
        inside = x - cell
        u = np.zeros(len(score))
        for offset, part in ((0, 1.0 - share), (1, share)):
            start, stop = tables[left + offset, cell], tables[left + offset, cell + 1]
            u += part * (start + inside * (stop - start))
        u = np.clip(u, _EDGE, 1.0 - _EDGE)
        place = score / (self.width * len(self.shape))
        return np.asarray(self.sign * np.log(u / (1.0 - u)) + 0.01 * place)


def _omega(mass: Floats, reference: float, slopes: Floats) -> Floats:
    shift = slopes[0] * (1.0 / reference - 1.0 / mass) + slopes[1] * np.log(mass / reference)
    return np.asarray(np.clip(shift, 0.0, None))


def _distribution(shape: Floats, width: float, alpha: float, omega: float, length: int) -> Floats:
    """Return the smeared distribution function at the edges of the bins, (length + 1,)."""
    cumulated = np.concatenate([[0.0], np.cumsum(shape), np.ones(length - len(shape))])
    if omega < 1e-3 * width:
        return cumulated
    edges = np.arange(length + 1) * width
    kernel = np.diff(gammainc(alpha, alpha * (edges + 0.5 * width) / omega), prepend=0.0)
    return np.asarray(np.convolve(cumulated, kernel)[: length + 1])


def _binned(score: Floats, mass: Floats, weight: Floats, *, width: float, bins: int) -> _Binned:
    number = np.floor((mass - mass.min()) / width).astype(np.int64)
    low, high = float(score.min()), float(score.max())
    masses, counts = [], []
    for cell in np.unique(number):
        rows = number == cell
        if rows.sum() < _FEWEST:
            continue
        w = weight[rows]
        filled = np.histogram(score[rows], bins=bins, range=(low, high), weights=w)[0]
        masses.append(float(w @ mass[rows] / w.sum()))
        counts.append(filled * (w.sum() / (w @ w)))
    if len(masses) < 3:
        msg = (
            f"convolved: {len(masses)} mass bins of {width} GeV with {_FEWEST} background jets; "
            "needed: three. Give a larger mass_width"
        )
        raise DataError(msg)
    return _Binned(np.array(masses), np.stack(counts), (high - low) / bins, low)


def _fitted(binned: _Binned) -> tuple[float, Floats]:
    """Return alpha and the two slopes of the largest likelihood of the mass bins."""
    m0, bins = binned.masses[0], binned.counts.shape[1]
    shape = binned.counts[0] / binned.counts[0].sum()
    centres = binned.low + (np.arange(bins) + 0.5) * binned.width
    means = binned.counts @ centres / binned.counts.sum(1)
    terms = np.stack([1 / m0 - 1 / binned.masses, np.log(binned.masses / m0)], axis=1)
    start = np.linalg.lstsq(terms, means - means[0], rcond=None)[0]
    unit = np.array([m0, 1.0]) * max(float(np.ptp(means)), 1e-3 * binned.width)

    def loss(parameters: Floats) -> float:
        alpha, slopes = float(np.exp(np.clip(parameters[0], -3, 5))), parameters[1:] * unit
        total = 0.0
        for omega, counts in zip(
            _omega(binned.masses, m0, slopes)[1:], binned.counts[1:], strict=True
        ):
            expected = np.diff(_distribution(shape, binned.width, alpha, omega, bins))
            # A floor keeps single jets outside of the shape at m_0 from deciding the fit.
            total -= float(counts @ np.log(np.clip(expected, 1e-4 / bins, None)))
        return total

    found = minimize(
        loss,
        np.concatenate([[np.log(2.0)], start / unit]),
        method="Nelder-Mead",
        options={"maxiter": 600, "xatol": 1e-4, "fatol": 1e-3},
    )
    return float(np.exp(np.clip(found.x[0], -3, 5))), np.asarray(found.x[1:] * unit)
