"""Tables against what correctionlib makes of them."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import correctionlib
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.export import correction_json, write_corrections

if TYPE_CHECKING:
    from pathlib import Path

ENERGY = ("energy", "GeV", [1.0, 10.0, 100.0, 1000.0])
ETA = ("abs_eta", "", [0.0, 0.8, 1.5, 2.5])
N_PV = ("n_pv", "", [0.0, 20.0, 80.0])


def loaded(text: str, name: str = "residual") -> Any:
    return correctionlib.CorrectionSet.from_string(text)[name]


def table(*shape: int) -> Any:
    return np.random.default_rng(3).uniform(0.8, 1.2, shape)


def points(*variables: Any, rows: int = 500) -> list[Any]:
    random = np.random.default_rng(4)
    return [random.uniform(edges[0], edges[-1], rows) for _, _, edges in variables]


def test_bins_of_three_variables() -> None:
    values = table(3, 3, 2)
    correction = loaded(correction_json("residual", variables=[ENERGY, ETA, N_PV], values=values))
    at = points(ENERGY, ETA, N_PV)
    bins = tuple(
        np.searchsorted(edges, x, side="right") - 1
        for (_, _, edges), x in zip((ENERGY, ETA, N_PV), at, strict=True)
    )
    np.testing.assert_allclose(correction.evaluate(*at), values[bins], rtol=1e-6)
    assert correction.evaluate(10.0, 0.8, 20.0) == values[1, 1, 1]  # the lower edge is included


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_interpolation_inside_bins(kind: Any) -> None:
    values = table(4, 3)
    text = correction_json(
        "residual", variables=[ENERGY, ETA], values=values, interpolate={"energy": kind}
    )
    energy, eta = points(ENERGY, ETA)
    expected = np.empty(500)
    for row in range(3):
        inside = np.searchsorted(ETA[2], eta, side="right") - 1 == row
        x, nodes = energy[inside], np.array(ENERGY[2])
        if kind == "log":
            x, nodes = np.log(x), np.log(nodes)
        expected[inside] = np.interp(x, nodes, values[:, row])
    np.testing.assert_allclose(loaded(text).evaluate(energy, eta), expected, rtol=1e-6)
    # The other kind of interpolation is another function.
    other = correction_json(
        "residual",
        variables=[ENERGY, ETA],
        values=values,
        interpolate={"energy": "log" if kind == "linear" else "linear"},
    )
    assert not np.allclose(loaded(other).evaluate(energy, eta), expected, rtol=1e-3)


def test_interpolation_in_all_variables() -> None:
    values = table(4, 4, 3)
    variables = [ENERGY, ETA, N_PV]
    text = correction_json(
        "residual",
        variables=variables,
        values=values,
        interpolate={"energy": "log", "abs_eta": "linear", "n_pv": "linear"},
    )
    at = points(*variables)
    nodes = (np.log(ENERGY[2]), np.array(ETA[2]), np.array(N_PV[2]))
    reference = RegularGridInterpolator(nodes, values)
    expected = reference(np.stack([np.log(at[0]), at[1], at[2]], axis=1))
    np.testing.assert_allclose(loaded(text).evaluate(*at), expected, rtol=1e-6)


@pytest.mark.parametrize("interpolate", [{}, {"energy": "linear"}, {"energy": "log"}])
def test_beyond_the_table_the_border_holds(interpolate: Any) -> None:
    values = table(4 if interpolate else 3)
    options: dict[str, Any] = {
        "variables": [ENERGY],
        "values": values,
        "interpolate": interpolate,
    }
    clamped = loaded(correction_json("residual", **options))
    beyond = clamped.evaluate(np.array([-5.0, 0.01, 1000.0, 1e7]))
    np.testing.assert_allclose(beyond, values[[0, 0, -1, -1]], rtol=1e-6)
    strict = loaded(correction_json("residual", flow="error", **options))
    assert strict.evaluate(1.0) == pytest.approx(values[0], rel=1e-6)
    for outside in (0.99, 1000.0):
        with pytest.raises((RuntimeError, IndexError)):
            strict.evaluate(outside)


def test_names_units_and_words_are_in_the_file(tmp_path: Path) -> None:
    text = correction_json(
        "residual",
        variables=[ENERGY, ETA],
        values=table(4, 3),
        interpolate={"energy": "log"},
        output="factor",
        description="Multiply the calibrated energy.",
        version=3,
    )
    (found,) = json.loads(text)["corrections"]
    assert (found["name"], found["version"]) == ("residual", 3)
    assert found["description"] == "Multiply the calibrated energy."
    assert [(part["name"], part["description"]) for part in found["inputs"]] == [
        ("energy", "[GeV], interpolated in its logarithm"),
        ("abs_eta", "binned"),
    ]
    other = correction_json("other", variables=[ETA], values=table(3))
    for name in ("all.json", "all.json.gz"):
        write_corrections(tmp_path / name, text, other, description="Residual corrections.")
        both = correctionlib.CorrectionSet.from_file(str(tmp_path / name))
        assert set(both) == {"residual", "other"}
        assert both["residual"].evaluate(7.0, 1.0) == loaded(text).evaluate(7.0, 1.0)
    with gzip.open(tmp_path / "all.json.gz") as file:
        assert json.load(file)["description"] == "Residual corrections."


def test_what_makes_no_correction_is_refused(tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, **options: Any) -> None:
        given: dict[str, Any] = {"variables": [ENERGY], "values": table(3), **options}
        with pytest.raises(error, match=match):
            correction_json("residual", **given)

    refused(ShapeError, r"table of shape \(4,\); \['energy'\] need \(3,\)", values=table(4))
    refused(ShapeError, r"need \(4,\)", interpolate={"energy": "log"})
    refused(DataError, r"1 values are not finite, first nan at \(1,\)", values=[1.0, np.nan, 1.0])
    refused(ConfigError, r"edges \[1.0, 1.0, 2.0\]", variables=[("e", "GeV", [1, 1, 2])])
    refused(
        ConfigError,
        "positive for a logarithm",
        variables=[("e", "GeV", [0, 1, 2])],
        interpolate={"e": "log"},
    )
    refused(ConfigError, "one to three different ones", variables=[])
    refused(ConfigError, "one to three different ones", variables=[ENERGY, ENERGY])
    refused(ConfigError, "flow is 'wrap'", flow="wrap")
    refused(ConfigError, "energy: cubic; needed: linear or log", interpolate={"energy": "cubic"})
    refused(ConfigError, r"enrgy.*Did you mean 'energy'", interpolate={"enrgy": "log"})
    text = correction_json("residual", variables=[ENERGY], values=table(3))
    with pytest.raises(ConfigError, match="each only once"):
        write_corrections(tmp_path / "x.json", text, text)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_corrections(tmp_path, text)


def test_a_correction_that_is_evaluated_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hepcalib.export import corrections

    monkeypatch.setattr(corrections, "_expression", lambda _: "[3]")
    with pytest.raises(ConfigError, match="correctionlib evaluates it to"):
        correction_json(
            "residual", variables=[ENERGY], values=table(4), interpolate={"energy": "log"}
        )
