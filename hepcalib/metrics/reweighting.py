"""Test spectra: what a sample is reweighted to, to see that a calibration does not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.exceptions import ConfigError, DataError, suggestion
from hepcalib.metrics.counts import Floats, divide

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["SPECTRA", "spectrum_factors", "spectrum_weights"]

SPECTRA = ("nominal", "uniform", "log_uniform", "exponential", "softer", "harder")
r"""Spectra of the truth: as sampled; dN/dE constant; dN/dln E constant; proportional to
:math:`e^{-E / 50\ GeV}`; as sampled times :math:`E^{-1/2}` and :math:`E^{1/2}`."""

_SCALE = 50.0  # of the exponential spectrum [GeV]
_POWERS = {"nominal": 0.0, "softer": -0.5, "harder": 0.5}


def spectrum_factors(name: str, edges: ArrayLike, contents: ArrayLike) -> Floats:
    """Return the factors that turn the contents of bins of the truth into another spectrum.

    They are 0 in bins without content, and their sum over the entries is the number of entries.

    Args:
        name: One of `SPECTRA`.
        edges: Bin edges of the truth [GeV], positive (bins + 1,).
        contents: Sums of weights (bins,).

    Raises:
        ConfigError: if the spectrum is unknown.
    """
    low, high = (np.asarray(edges, dtype=np.float64)[part] for part in (slice(-1), slice(1, None)))
    found = np.asarray(contents, dtype=np.float64)
    targets = {
        **{other: found * np.sqrt(low * high) ** power for other, power in _POWERS.items()},
        "uniform": high - low,
        "log_uniform": np.log(high / low),
        "exponential": np.exp(-low / _SCALE) - np.exp(-high / _SCALE),
    }
    if name not in targets:
        msg = f"unknown spectrum '{name}'. {suggestion(name, targets)}"
        raise ConfigError(msg)
    factors = np.nan_to_num(divide(targets[name], found))
    total = float(factors @ found)
    return np.asarray(factors * (found.clip(min=0.0).sum() / total if total > 0.0 else 1.0))


def spectrum_weights(
    name: str, true: ArrayLike, *, weight: ArrayLike | None = None, bins: int = 60
) -> Floats:
    """Return weights (rows,) that give a sample another spectrum, from bins of equal ratio.

    Args:
        name: One of `SPECTRA`.
        true: True energies [GeV] (rows,), positive.
        weight: Weights (rows,) that the sample has already, and that the result contains.
        bins: Number of bins over the range of the sample.

    Raises:
        ConfigError: if the spectrum is unknown.
        DataError: if a truth is not positive and finite.
    """
    x = np.asarray(true, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    bad = ~((x > 0.0) & np.isfinite(x))
    if bad.any():
        row = int(bad.argmax())
        msg = f"spectrum_weights: truth {x[row]} in row {row}; needed: positive and finite"
        raise DataError(msg)
    if not x.size:
        return w
    edges = np.geomspace(x.min(), np.nextafter(x.max(), np.inf), bins + 1)
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    contents = np.bincount(place, w, minlength=bins)
    return np.asarray(w * spectrum_factors(name, edges, contents)[place])
