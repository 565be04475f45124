"""Histograms against each of the 15 inputs of the topo-cluster calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.hists.axes import VARIABLES, Variable, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "FEATURES",
    "feature_axis",
    "feature_input",
    "feature_response",
    "feature_uncertainty",
    "fill_feature_input",
    "fill_feature_response",
    "fill_feature_uncertainty",
]


def _linear(label: str, low: float, high: float, bins: int) -> Variable:
    edges = np.round(np.linspace(low, high, bins + 1), 9)
    return Variable(label, tuple(float(edge) for edge in edges))


def _log(label: str, low: float, high: float, bins: int) -> Variable:
    return Variable(label, tuple(float(edge) for edge in np.geomspace(low, high, bins + 1)), "log")


def _share(label: str) -> Variable:
    """Return 50 bins on [0, 1], with 1 in the last one."""
    edges = _linear(label, 0.0, 1.0, 50).edges
    return Variable(label, (*edges[:-1], float(np.nextafter(1.0, 2.0))))


FEATURES: Mapping[str, Variable] = {
    "energy": _log(r"$E_\mathrm{EM}$ [GeV]", 0.1, 2000.0, 43),
    "rapidity": _linear(r"Rapidity $y$", -2.5, 2.5, 50),
    "significance": _log(r"Significance $\zeta$", 0.1, 1e4, 50),
    "time": _linear(r"Time $t$ [ns]", -60.0, 60.0, 60),
    "second_time": _log(r"Var $t_\mathrm{cell}$ [ns$^2$]", 1e-13, 1e4, 51),
    "center_lambda": _log(r"Depth $\lambda$ [mm]", 5.0, 5000.0, 45),
    "center_mag": _linear(r"Distance $|c|$ [mm]", 1000.0, 9000.0, 40),
    "eng_frac_em": _linear(r"EM fraction $f_\mathrm{emc}$", -0.2, 1.2, 56),
    "first_eng_dens": _log(r"Density $\rho$ [GeV/mm$^3$]", 1e-9, 1e-3, 60),
    "longitudinal": _share(r"$m^2_\mathrm{long}$"),
    "lateral": _share(r"$m^2_\mathrm{lat}$"),
    "ptd": _share(r"Compactness $p_\mathrm{T}^D$"),
    "isolation": _share(r"Isolation $f_\mathrm{iso}$"),
    "n_pv": _linear(r"Primary vertices $N_\mathrm{PV}$", -0.5, 79.5, 40),
    "mu": _linear(r"Pile-up $\mu$", 0.0, 80.0, 40),
}
"""The inputs of arXiv:2412.04370 by standard column, in finer bins than those of `VARIABLES`."""

_FINER = {"true_energy": _log(VARIABLES["true_energy"].label, 0.3, 2000.0, 60)}
_RATIO = r"$R_\mathrm{pred}\,/\,R_\mathrm{EM}$"
_RELATIVE = r"Relative uncertainty $\sigma\,/\,R$"


def feature_axis(name: str) -> hist.axis.Variable:
    """Return the axis of one of `FEATURES`, or else of `VARIABLES`; metadata "linear" or "log".

    The true energy has 60 bins.

    Raises:
        ConfigError: if neither has the name.
    """
    known = {**VARIABLES, **_FINER, **FEATURES}
    if name not in known:
        msg = f"unknown feature {name!r}. {suggestion(name, known)}"
        raise ConfigError(msg)
    feature = known[name]
    return hist.axis.Variable(
        feature.edges, name=name, label=feature.label, metadata=feature.spacing
    )


def feature_response(feature: str) -> Hist[Any]:
    r"""Return the empty histogram of :math:`R_{pred} / R_{EM}`, the power to predict the response.

    Args:
        feature: One of `FEATURES` or `VARIABLES`, such as true_energy.

    Returns:
        Axes `feature`, ratio (150 bins, 0 to 3). The best is 1; the ratio is also E_dep / E_cal.

    Raises:
        ConfigError: if the feature is unknown.
    """
    axis = hist.axis.Regular(150, 0.0, 3.0, name="ratio", label=_RATIO)
    return histogram(feature_axis(feature), axis)


def fill_feature_response(
    histogram: Hist[Any], *, values: ArrayLike, ratio: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill the ratio of predicted to true response against a feature.

    Args:
        histogram: What `feature_response` returned; changed in place.
        values: The feature (rows,).
        ratio: Predicted over true response (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {histogram.axes[0].name: values, "ratio": ratio}
    fill(histogram, weight, categories={}, values=columns)


def feature_uncertainty(feature: str) -> Hist[Any]:
    """Return the empty histogram of the relative uncertainty against a feature.

    Args:
        feature: One of `FEATURES` or `VARIABLES`.

    Returns:
        Axes `feature`, uncertainty (100 bins of equal ratio, 1e-2 to 10).

    Raises:
        ConfigError: if the feature is unknown.
    """
    axis = hist.axis.Variable(
        np.geomspace(1e-2, 10.0, 101), name="uncertainty", label=_RELATIVE, metadata="log"
    )
    return histogram(feature_axis(feature), axis)


def fill_feature_uncertainty(
    histogram: Hist[Any],
    *,
    values: ArrayLike,
    uncertainty: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill relative uncertainties against a feature.

    Args:
        histogram: What `feature_uncertainty` returned; changed in place.
        values: The feature (rows,).
        uncertainty: Uncertainty of the response over the response (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {histogram.axes[0].name: values, "uncertainty": uncertainty}
    fill(histogram, weight, categories={}, values=columns)


def feature_input(feature: str) -> Hist[Any]:
    """Return the empty histogram of a feature as it is and as a model sees it.

    Args:
        feature: One of `FEATURES`.

    Returns:
        Axes `feature`, transformed (96 bins, -6 to 6).

    Raises:
        ConfigError: if the feature is unknown.
    """
    axis = hist.axis.Regular(96, -6.0, 6.0, name="transformed", label="Transformed")
    return histogram(feature_axis(feature), axis)


def fill_feature_input(
    histogram: Hist[Any],
    *,
    values: ArrayLike,
    transformed: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill a feature before and after its transforms.

    Args:
        histogram: What `feature_input` returned; changed in place.
        values: The feature (rows,).
        transformed: The same as the model sees it (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {histogram.axes[0].name: values, "transformed": transformed}
    fill(histogram, weight, categories={}, values=columns)
