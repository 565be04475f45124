"""The clusters of an event added up, as those of a jet are, whichever chunks they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib import hists
from hepcalib.hists.axes import category_axis
from hepcalib.processors.columns import floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from hist import Hist
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["fill_event_sums", "finish_event_sums"]

VARIABLES = {"response_sum_true_energy": "true_sum", "response_sum_n_pv": "n_pv"}
ENDS = "event_sums_at_ends"
CLUSTERS, N_PV, WEIGHT, TRUE = OF_EVENT = ("clusters", "n_pv", "weight", "true")


def fill_event_sums(
    clusters: ak.Array, energies: Mapping[str, Floats], *, metadata: Mapping[str, Any]
) -> dict[str, Hist[Any]]:
    r"""Return the response of the sum of the clusters of each event, against that sum and N_PV.

    .. math:: R = \sum_i E_i \, / \, \sum_i E_{dep,i}

    The clusters of an event stand in consecutive rows. The first and the last event of a chunk may
    go on in another one: what is known of them is in a histogram of its own, that
    `finish_event_sums` empties once all chunks are added up.

    Args:
        clusters: Standard columns of the clusters that have a response.
        energies: Scale -> energy [GeV] (rows,), NaN where there is none: such an event is left out.
        metadata: That of the chunk.
    """
    scales = tuple(energies)
    filled = {
        name: hists.response(variable, scales=scales, quantity="sum")
        for name, variable in VARIABLES.items()
    }
    ends: Hist[Any] = hist.Hist(
        hist.axis.StrCategory([], name="event", label="Event", growth=True),
        category_axis("sum", (*OF_EVENT, *scales), label="What is added up"),
    )
    if len(clusters):
        sums, event = _added_up(clusters, energies)
        within = slice(1, -1)
        _fill(filled, {name: values[within] for name, values in sums.items()})
        for place in {0, len(event) - 1}:
            key = f"{metadata['dataset']}:{metadata['filename']}:{event[place]}"
            for name, values in sums.items():
                ends.fill(key, name, weight=values[place])
    return {**filled, ENDS: ends}


def finish_event_sums(histograms: Mapping[str, Hist[Any]]) -> dict[str, Hist[Any]]:
    """Return the histograms of all chunks once the events that were cut in two are filled too."""
    finished = dict(histograms)
    ends = finished.pop(ENDS, None)
    if ends is not None and len(ends.axes["event"]):
        table = ends.values().T
        _fill(finished, dict(zip(ends.axes["sum"], table, strict=True)))
    return finished


def _added_up(clusters: ak.Array, energies: Mapping[str, Floats]) -> tuple[dict[str, Floats], Any]:
    """Return the sums of all columns over the clusters of each event, and the events' names."""
    columns = {
        CLUSTERS: np.ones(len(clusters)),
        N_PV: floats(clusters, "n_pv"),
        WEIGHT: floats(clusters, "weight"),
        TRUE: floats(clusters, "true_energy"),
        **energies,
    }
    number = np.stack([np.asarray(clusters[key], np.int64) for key in ("run", "event")])
    starts = np.flatnonzero(np.append(True, (number[:, 1:] != number[:, :-1]).any(axis=0)))
    sums = {name: np.add.reduceat(values, starts) for name, values in columns.items()}
    return sums, [f"{run}:{event}" for run, event in number[:, starts].T]


def _fill(histograms: Mapping[str, Hist[Any]], sums: Mapping[str, Floats]) -> None:
    """Fill one entry per event, of the mean weight of its clusters."""
    weight = sums[WEIGHT] / sums[CLUSTERS]
    values = {"true_sum": sums[TRUE], "n_pv": sums[N_PV] / sums[CLUSTERS]}
    for name, variable in VARIABLES.items():
        for scale in histograms[name].axes["scale"]:
            known = np.isfinite(sums[scale])
            hists.fill_response(
                histograms[name],
                scale=scale,
                values=values[variable][known],
                response=sums[scale][known] / sums[TRUE][known],
                weight=weight[known],
            )
