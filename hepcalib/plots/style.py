"""How all figures look, and how they are written."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import mplhep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.figure import Figure

__all__ = ["Look", "looks", "save", "style"]

_OVERRIDES: dict[Any, Any] = {
    "figure.figsize": (7.0, 5.25),
    "figure.constrained_layout.use": True,
    "font.size": 13,
    "axes.labelsize": 15,
    "axes.titlesize": 13,
    "axes.labelpad": 4,
    "axes.autolimit_mode": "data",
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-3, 4),
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "xtick.major.size": 6,
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
    "legend.fontsize": 12,
    "legend.borderpad": 0.4,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "mathtext.fontset": "stixsans",
    "savefig.dpi": 150,
    "pdf.fonttype": 42,
}


class Look(NamedTuple):
    """How one scale, tagger, kind or truth label is drawn, in every figure."""

    label: str
    colour: str
    marker: str


_KNOWN = {
    "True": Look("True", "#000000", "*"),
    "EM": Look("EM scale", "#555555", "s"),
    "Raw": Look("Uncalibrated", "#555555", "s"),
    "LCW": Look("LCW", "#0072b2", "^"),
    "Published": Look("Published calibration", "#0072b2", "^"),
    "Calibrated": Look("Calibrated", "#d55e00", "o"),
    "Residual": Look("Residual correction", "#009e73", "D"),
    "BNN": Look("BNN", "#d55e00", "o"),
    "Repulsive ensemble": Look("Repulsive ensemble", "#cc79a7", "v"),
    "Deep ensemble": Look("Deep ensemble", "#e69f00", "P"),
    "MC dropout": Look("MC dropout", "#56b4e9", "X"),
    "Evidential": Look("Evidential", "#8b5e3c", "<"),
    "Laplace": Look("Laplace", "#7b2d8b", ">"),
    "Conformal ensemble": Look("Conformal ensemble", "#9aa61c", "h"),
    "DNN": Look("DNN", "#17becf", "p"),
    "Best possible": Look("Best possible", "#009e73", "D"),
    "total": Look("Total", "#000000", "o"),
    "systematic": Look("Systematic", "#d55e00", "s"),
    "statistical": Look("Statistical", "#0072b2", "^"),
    "pull": Look("Pull", "#000000", "o"),
    "residual over systematic": Look("Residual / systematic", "#d55e00", "s"),
    "residual over statistical": Look("Residual / statistical (no pull)", "#0072b2", "^"),
    "background": Look("Background", "#0072b2", "s"),
    "signal": Look("Signal", "#d55e00", "o"),
    "unlabelled": Look("Without label", "#000000", "D"),
}
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b5e3c", "#7b2d8b",
    "#9aa61c", "#17becf",
)  # fmt: skip
# One more than colours: a colour that comes again has another marker.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p")


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return the look of each name: fixed where the name is known, else one that is still free."""
    listed = list(names)
    fixed = {name: _KNOWN[name] for name in listed if name in _KNOWN}
    colours, markers = (
        itertools.cycle([look for look in choice if look not in taken])
        for choice, taken in (
            (_COLOURS, {look.colour for look in fixed.values()}),
            (_MARKERS, {look.marker for look in fixed.values()}),
        )
    )
    return {
        name: fixed[name] if name in fixed else Look(name, next(colours), next(markers))
        for name in listed
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of hepcalib inside this context; outside nothing changes."""
    base: dict[Any, Any] = {
        key: value for key, value in mplhep.style.ATLAS.items() if "mathtext" not in key
    }
    with mpl.rc_context({**base, **_OVERRIDES}):
        yield


def save(figure: Figure, path: Path | str) -> tuple[Path, Path]:
    """Write a figure as PNG and PDF, the same bytes for the same figure, and free its memory.

    Args:
        figure: What a figure function returned; it is empty afterwards.
        path: Where to, without suffix; folders are made.

    Returns:
        The two paths.
    """
    stem = Path(path)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".pdf"))
    with style():
        figure.savefig(png, metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout found stays
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    figure.clear()
    return png, pdf
