from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.interpretation import hardest_scaled, regions_of, regions_scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

REGIONS = 3


def energies(columns: ak.Array) -> ak.Array:
    parts = columns.constituents
    return np.sqrt((parts.pt * np.cosh(parts.eta)) ** 2 + parts.mass**2)


def hardest(columns: ak.Array) -> Floats:
    """Energy of the constituent with the largest pt; 0 without constituents."""
    chosen = ak.argmax(columns.constituents.pt, axis=1, keepdims=True)
    return np.asarray(ak.fill_none(ak.firsts(energies(columns)[chosen]), 0.0))


def by_region(columns: ak.Array, at: ak.Array) -> Floats:
    """Energy of each region of the jets, (jets, regions), in the regions of the columns `at`."""
    rows = np.repeat(np.arange(len(at)), ak.num(at.constituents))
    place = rows * REGIONS**2 + regions_of(at, regions=REGIONS)
    weights = np.asarray(ak.flatten(energies(columns)))
    size = len(at) * REGIONS**2
    found = np.bincount(place, weights=weights, minlength=size).astype(np.float64)
    return found.reshape(-1, REGIONS**2)


@pytest.mark.parametrize("shift", [-0.2, 0.05, 0.3])
def test_linear_logit_moves_by_the_weight_times_the_shift(
    jets: Callable[..., ak.Array], shift: float
) -> None:
    nominal, weight, others = jets(), 0.03, -0.01

    def logit(columns: ak.Array) -> Floats:
        first = hardest(nominal) if columns is nominal else (1.0 + shift) * hardest(nominal)
        rest = np.asarray(ak.sum(energies(columns), axis=1)) - first
        return weight * first + others * rest

    moved = logit(hardest_scaled(nominal, shift)) - logit(nominal)
    np.testing.assert_allclose(moved, weight * shift * hardest(nominal), rtol=1e-9, atol=1e-9)
    assert np.abs(moved).max() > 0.01


def test_linear_variance_is_the_sum_over_regions(jets: Callable[..., ak.Array]) -> None:
    nominal, spread, replicas = jets(60), 0.05, 400
    weights = np.linspace(-0.02, 0.03, REGIONS**2)
    before = by_region(nominal, nominal)
    logits = np.stack(
        [
            by_region(regions_scaled(nominal, spread, regions=REGIONS, replica=n), nominal)
            @ weights
            for n in range(replicas)
        ]
    )
    expected = np.sqrt(((weights * before * spread) ** 2).sum(axis=1))
    known = expected > 0.0
    ratio = logits.std(axis=0)[known] / expected[known]
    # One standard error of a standard deviation is 1 / sqrt(2 n); there are about 50 jets.
    assert np.abs(ratio - 1.0).max() < 5.0 / np.sqrt(2.0 * replicas)
    assert ratio.mean() == pytest.approx(1.0, abs=5.0 / np.sqrt(2.0 * replicas * known.sum()))
    together = np.abs((weights * before * spread).sum(axis=1))[known] / expected[known]
    assert np.abs(together - 1.0).max() > 0.5  # what one scale for all regions would give


@pytest.mark.parametrize(
    "change", [lambda x: hardest_scaled(x, 0.2), lambda x: regions_scaled(x, 0.1)]
)
def test_the_jet_stays_the_sum_of_its_constituents(
    jets: Callable[..., ak.Array], change: Callable[[ak.Array], ak.Array]
) -> None:
    nominal = jets()
    shifted = change(nominal)
    parts = shifted.constituents
    known = ak.to_numpy(ak.num(parts) > 0)
    for jet, part in (
        (shifted.pt * np.cos(shifted.phi), parts.pt * np.cos(parts.phi)),
        (shifted.pt * np.sinh(shifted.eta), parts.pt * np.sinh(parts.eta)),
        (
            np.sqrt((shifted.pt * np.cosh(shifted.eta)) ** 2 + shifted.mass**2),
            energies(shifted),
        ),
    ):
        np.testing.assert_allclose(jet[known], ak.sum(part, axis=1)[known], rtol=1e-6, atol=1e-6)
    assert ak.any(shifted.pt != nominal.pt)
    for name in ("eta", "phi", "pdg_id"):
        assert ak.all(parts[name] == nominal.constituents[name])


def test_nothing_changes_without_a_shift_or_without_constituents(
    jets: Callable[..., ak.Array],
) -> None:
    nominal = jets()
    for same in (hardest_scaled(nominal, 0.0), regions_scaled(nominal, 0.0)):
        assert ak.array_equal(same, nominal)
    empty = nominal[ak.num(nominal.constituents) == 0]
    assert len(empty) > 0
    assert ak.array_equal(hardest_scaled(empty, 0.5), empty)
    assert len(regions_scaled(nominal[:0], 0.1)) == 0


def test_scales_do_not_depend_on_the_other_jets(jets: Callable[..., ak.Array]) -> None:
    nominal = jets()
    everything, order = regions_scaled(nominal, 0.1), np.arange(len(nominal))[::-3]
    some = regions_scaled(nominal[order], 0.1)
    assert ak.array_equal(some, everything[order])
    for other in ({"seed": 1}, {"replica": 1}):
        assert not ak.array_equal(regions_scaled(nominal, 0.1, **other).pt, everything.pt)


def test_regions_are_a_grid_around_the_axis() -> None:
    members = {"eta": [[1.0 - 0.7, 1.0 + 0.7, 1.0, 1.0 + 5.0]], "phi": [[3.1, -3.1, 3.0, 3.0]]}
    members |= {"pt": [[1.0] * 4], "mass": [[0.0] * 4]}
    jet = {"pt": [10.0], "eta": [1.0], "phi": [3.0], "mass": [1.0]}
    columns = ak.Array({**jet, "constituents": ak.zip(members)})
    found = regions_of(columns, regions=2, extent=0.8)
    assert found.tolist() == [1, 3, 3, 3]
    assert regions_of(columns, regions=1).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (hardest_scaled, {"shift": -1.0}, "hardest constituent is -1.0; needed: above -1"),
        (hardest_scaled, {"shift": np.nan}, "hardest constituent is nan"),
        (regions_scaled, {"spread": 0.2}, r"scales is 0.2; needed: 0 to 0.12"),
        (regions_scaled, {"spread": -0.1}, r"scales is -0.1"),
        (
            regions_scaled,
            {"spread": 0.1, "regions": 0},
            "regions 0, extent 0.8; needed: at least 1",
        ),
        (regions_scaled, {"spread": 0.1, "extent": 0.0}, "regions 4, extent 0.0"),
    ],
)
def test_shifts_that_cannot_be_meant(
    jets: Callable[..., ak.Array],
    function: Callable[..., Any],
    arguments: dict[str, float],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        function(jets(3), **arguments)


def test_a_missing_column_is_named(jets: Callable[..., ak.Array]) -> None:
    columns = jets(3)
    with pytest.raises(DataError, match="column 'constituents' is missing"):
        hardest_scaled(columns[["pt", "eta", "phi", "mass"]], 0.1)
