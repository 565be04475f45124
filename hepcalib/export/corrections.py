"""Tables of a correction as correctionlib JSON, which analyses evaluate without hepcalib."""

from __future__ import annotations

import gzip
import json
import math
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import correctionlib
import numpy as np
from correctionlib import schemav2

from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["correction_json", "write_corrections"]

Interpolation: TypeAlias = Literal["linear", "log"]

LETTERS = "xyz"  # what a formula calls its variables
TOLERANCE = 1e-6


class _Axis(NamedTuple):
    name: str
    unit: str
    edges: Floats
    kind: Interpolation | Literal["bins"]

    @property
    def cells(self) -> int:
        return len(self.edges) - 1

    @property
    def points(self) -> Floats:
        """Where a value of the table stands: at the nodes, or in the middle of the bins."""
        return self.edges if self.kind != "bins" else 0.5 * (self.edges[1:] + self.edges[:-1])


def correction_json(
    name: str,
    *,
    variables: Sequence[tuple[str, str, ArrayLike]],
    values: ArrayLike,
    interpolate: Mapping[str, Interpolation] | None = None,
    flow: Literal["clamp", "error"] = "clamp",
    output: str = "factor",
    description: str = "",
    version: int = 1,
) -> str:
    r"""Return a table of one to three variables as correctionlib JSON, schema version 2.

    A variable is binned: value i holds between edges i (included) and i + 1 (not included). Or it
    is interpolated between nodes i and i + 1, linearly in the variable or in its logarithm:

    .. math:: c(x) = c_i + (c_{i+1} - c_i) \frac{\ln(x / x_i)}{\ln(x_{i+1} / x_i)}

    Beyond the first and last edge or node, "clamp" takes what holds at the nearest one, and "error"
    makes correctionlib raise; the last one itself is then outside. "error" also refuses NaN.

    The result is validated by correctionlib, and evaluated where the values of the table stand.

    Args:
        name: Name of the correction.
        variables: Name, unit and edges or nodes of each variable, in the order in which
            correctionlib will be given them.
        values: The table: for each variable one value per bin, or one per node if interpolated.
        interpolate: Names of variables -> "linear" or "log"; the others are binned.
        flow: What happens outside of the table, in all variables.
        output: Name of the result.
        description: What the correction is about, and how it is to be applied.
        version: Version of the correction.

    Raises:
        ConfigError: if there are not one to three different variables, edges do not ascend or are
            not positive for a logarithm, or a word is unknown.
        ShapeError: if the table does not fit the variables.
        DataError: if a value is not finite.
    """
    axes = _axes(variables, interpolate or {})
    table = np.asarray(values, np.float64)
    _check(name, axes, table, flow)
    content, formulas = _content(axes, table)
    binning = schemav2.MultiBinning(
        nodetype="multibinning",
        inputs=[axis.name for axis in axes],
        edges=[axis.edges.tolist() for axis in axes],
        content=content,
        flow=flow,
    )
    correction = schemav2.Correction(
        name=name,
        description=description,
        version=version,
        inputs=[
            schemav2.Variable(name=axis.name, type="real", description=_words(axis))
            for axis in axes
        ],
        output=schemav2.Variable(name=output, type="real", description=description),
        generic_formulas=formulas,
        data=binning,
    )
    document = schemav2.CorrectionSet(
        schema_version=2, description=description, corrections=[correction]
    )
    text = document.model_dump_json(exclude_unset=True, indent=1)
    _verify(text, name, axes, table, flow)
    return text


def write_corrections(path: str | Path, *documents: str, description: str = "") -> None:
    """Write corrections into one file, compressed if it is called .gz.

    Args:
        path: The file, replaced if it exists.
        documents: What `correction_json` returned, each with names of its own.
        description: What the file is about.

    Raises:
        ConfigError: if there is no correction, one is there twice, or the file cannot be written.
    """
    corrections = [found for text in documents for found in json.loads(text)["corrections"]]
    names = [str(found["name"]) for found in corrections]
    if not names or len(set(names)) < len(names):
        msg = f"{path}: corrections {names}; needed: at least one, each only once"
        raise ConfigError(msg)
    fields = {"schema_version": 2, "description": description, "corrections": corrections}
    content = (json.dumps(fields, indent=1) + "\n").encode("utf-8")
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error


def _axes(
    variables: Sequence[tuple[str, str, ArrayLike]], interpolate: Mapping[str, Interpolation]
) -> list[_Axis]:
    names = [variable for variable, _, _ in variables]
    for variable, kind in interpolate.items():
        if variable not in names or kind not in ("linear", "log"):
            known = suggestion(variable, names)
            msg = (
                f"interpolate: {variable}: {kind}; needed: linear or log, for one of them. {known}"
            )
            raise ConfigError(msg)
    return [
        _Axis(variable, unit, np.asarray(edges, np.float64), interpolate.get(variable, "bins"))
        for variable, unit, edges in variables
    ]


def _check(name: str, axes: list[_Axis], table: Floats, flow: str) -> None:
    names = [axis.name for axis in axes]
    if not 1 <= len(axes) <= len(LETTERS) or len(set(names)) < len(names):
        msg = f"correction '{name}': variables {names}; needed: one to three different ones"
        raise ConfigError(msg)
    if flow not in ("clamp", "error"):
        msg = f"correction '{name}': flow is '{flow}'; needed: 'clamp' or 'error'"
        raise ConfigError(msg)
    for axis in axes:
        edges = axis.edges
        ascending = edges.ndim == 1 and len(edges) > 1 and bool(np.all(np.diff(edges) > 0))
        positive = axis.kind != "log" or bool(np.all(edges > 0))
        if not (ascending and positive and bool(np.isfinite(edges).all())):
            msg = (
                f"correction '{name}': {axis.name} has edges {edges.tolist()}; needed: at least "
                "two, finite and ascending, and positive for a logarithm"
            )
            raise ConfigError(msg)
    expected = tuple(len(axis.points) for axis in axes)
    if table.shape != expected:
        msg = f"correction '{name}': table of shape {table.shape}; {names} need {expected}"
        raise ShapeError(msg)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        seen = f"{len(bad)} values are not finite, first {table[where]} at {where}"
        msg = f"correction '{name}': {seen}"
        raise DataError(msg)


def _content(axes: list[_Axis], table: Floats) -> tuple[list[Any], list[schemav2.Formula] | None]:
    """Return what stands in each cell, the last variable running fastest, and shared formulas."""
    smooth = [i for i, axis in enumerate(axes) if axis.kind != "bins"]
    if not smooth:
        return table.ravel().tolist(), None
    formula = schemav2.Formula(
        nodetype="formula",
        parser="TFormula",
        expression=_expression([axes[i] for i in smooth]),
        variables=[axes[i].name for i in smooth],
    )
    cells = []
    for cell in product(*(range(axis.cells) for axis in axes)):
        parameters = []
        for i in smooth:
            low, high = axes[i].edges[cell[i] : cell[i] + 2].tolist()
            width = high - low if axes[i].kind == "linear" else math.log(high / low)
            parameters += [low, high, 1.0 / width]
        corner = tuple(slice(j, j + 2) if i in smooth else j for i, j in enumerate(cell))
        parameters += table[corner].ravel().tolist()
        cells.append(schemav2.FormulaRef(nodetype="formularef", index=0, parameters=parameters))
    return cells, [formula]


def _expression(axes: list[_Axis]) -> str:
    """Return the interpolation within a cell; outside of it, the value at its border.

    Parameters are lower and upper node and 1 / width of each variable, then the values at the
    corners, the last variable running fastest.
    """
    corners = [f"[{3 * len(axes) + i}]" for i in range(2 ** len(axes))]
    for i in reversed(range(len(axes))):
        low, high, inverse = (f"[{3 * i + j}]" for j in range(3))
        inside = f"max(min({LETTERS[i]},{high}),{low})"
        distance = f"({inside}-{low})" if axes[i].kind == "linear" else f"log({inside}/{low})"
        share = f"{distance}*{inverse}"
        corners = [
            f"({a}+({b}-{a})*{share})" for a, b in zip(corners[::2], corners[1::2], strict=True)
        ]
    return corners[0]


def _words(axis: _Axis) -> str:
    kinds = {"bins": "binned", "linear": "interpolated", "log": "interpolated in its logarithm"}
    return f"[{axis.unit}], {kinds[axis.kind]}" if axis.unit else kinds[axis.kind]


def _verify(text: str, name: str, axes: list[_Axis], table: Floats, flow: str) -> None:
    """Evaluate the correction where the values of its table stand."""
    correction = correctionlib.CorrectionSet.from_string(text)[name]
    points = [
        axis.points[:-1] if axis.kind != "bins" and flow == "error" else axis.points
        for axis in axes
    ]
    grid = np.meshgrid(*points, indexing="ij")
    expected = table[tuple(slice(len(values)) for values in points)]
    seen = np.asarray(correction.evaluate(*(axis.ravel() for axis in grid))).reshape(expected.shape)
    if not np.allclose(seen, expected, rtol=TOLERANCE, atol=TOLERANCE * float(np.abs(table).max())):
        msg = f"correction '{name}': correctionlib evaluates it to {seen}, the table is {expected}"
        raise ConfigError(msg)
