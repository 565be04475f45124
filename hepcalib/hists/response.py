"""Histograms of the response, measured over true, against a variable, and of the energy spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import hist
import numpy as np

from hepcalib.hists.axes import category_axis, fill, histogram, variable_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = ["Measured", "fill_response", "fill_spectrum", "response", "spectrum"]

Measured: TypeAlias = Literal["energy", "sum", "pt", "mass", "jet_energy"]

_RESPONSE_EDGES = np.geomspace(0.02, 50.0, 601)  # 1.3 % wide
_SPECTRUM_EDGES = {"energy": np.geomspace(0.1, 3000.0, 61), "pt": np.geomspace(20.0, 2000.0, 61)}
_RATIO = {
    "energy": r"$E\,/\,E_\mathrm{dep}$",
    "sum": r"$\sum E\,/\,\sum E_\mathrm{dep}$",
    "pt": r"$p_\mathrm{T}\,/\,p_\mathrm{T}^\mathrm{true}$",
    "mass": r"$m\,/\,m^\mathrm{true}$",
    "jet_energy": r"$E\,/\,E^\mathrm{true}$",
}
_QUANTITY = {"energy": r"Cluster energy $E$ [GeV]", "pt": r"Jet $p_\mathrm{T}$ [GeV]"}


def response(variable: str, *, scales: Sequence[str], quantity: Measured = "energy") -> Hist[Any]:
    """Return the empty histogram of the response of each scale against one variable.

    Args:
        variable: One of `VARIABLES`.
        scales: Names of the scales, such as EM, LCW, BNN.
        quantity: What is measured: the energy of clusters or the sum of those of an event, or
            "pt", "mass" or "jet_energy".

    Returns:
        Axes scale, `variable`, response (600 bins 0.02-50, each 1.3 % wide).

    Raises:
        ConfigError: if the variable is unknown or a scale stands twice.
    """
    # Edges, not a transformed regular axis: that one counts negative responses as overflow.
    ratio = hist.axis.Variable(
        _RESPONSE_EDGES, name="response", label=_RATIO[quantity], metadata="log"
    )
    return histogram(
        category_axis("scale", scales, label="Energy scale"), variable_axis(variable), ratio
    )


def fill_response(
    histogram: Hist[Any],
    *,
    scale: str,
    values: ArrayLike,
    response: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the response of one scale.

    Args:
        histogram: What `response` returned; changed in place.
        scale: One of its scales.
        values: The variable (rows,).
        response: Measured over true energy or transverse momentum (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if the scale is not on the axis, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    variable = histogram.axes[1].name
    columns = {variable: values, "response": response}
    fill(histogram, weight, categories={"scale": scale}, values=columns)


def spectrum(scales: Sequence[str], *, quantity: Literal["energy", "pt"] = "energy") -> Hist[Any]:
    """Return the empty histogram of the spectrum of each scale: axes scale, energy or pt [GeV].

    Raises:
        ConfigError: if a scale stands twice.
    """
    axis = hist.axis.Variable(
        _SPECTRUM_EDGES[quantity], name=quantity, label=_QUANTITY[quantity], metadata="log"
    )
    return histogram(category_axis("scale", scales, label="Energy scale"), axis)


def fill_spectrum(
    histogram: Hist[Any], *, scale: str, values: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill the energies or transverse momenta [GeV] (rows,) of one scale.

    Raises:
        DataError: if the scale is not on the axis, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {histogram.axes[1].name: values}
    fill(histogram, weight, categories={"scale": scale}, values=columns)
