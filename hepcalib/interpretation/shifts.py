"""Jets as they would be measured with another energy scale: what a tagger is asked to bear."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import awkward as ak
import numpy as np

from hepcalib.exceptions import ConfigError
from hepcalib.features.jets import wrapped
from hepcalib.features.table import Table
from hepcalib.interpretation.draws import LARGEST, keyed_normals
from hepcalib.settings import own_settings

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["hardest_scaled", "regions_of", "regions_scaled"]

_MEMBERS = ("pt", "eta", "phi", "mass")
_IDENTITY = ("run", "lumi", "event", "index")
_LARGEST_SPREAD = 1.0 / LARGEST


class _Momenta(NamedTuple):
    """Four-momenta [GeV]."""

    px: Floats
    py: Floats
    pz: Floats
    energy: Floats


@own_settings()
def hardest_scaled(columns: Any, shift: float) -> ak.Array:
    r"""Scale the four-momentum of the constituent with the largest pt of each jet.

    .. math:: p_1 \to (1 + d) p_1, \quad p_{jet} \to p_{jet} + d \, p_1

    All other columns, groomed masses among them, stay. For a tagger whose logit is linear in the
    energies with weight w_1 of that of the hardest constituent, the logit moves by w_1 d E_1.

    Reference: arXiv:1904.10004.

    Args:
        columns: Standard columns of jets with constituents, one jet per row (GeV).
        shift: Relative shift d, above -1.

    Returns:
        The columns with the shifted kinematics.

    Raises:
        ConfigError: if the shift is not above -1 or not finite.
        DataError: if a column is missing.
    """
    if not -1.0 < shift < np.inf:
        msg = f"shift of the hardest constituent is {shift}; needed: above -1 and finite"
        raise ConfigError(msg)
    table = Table(columns, constituents=_MEMBERS)
    factor = np.ones(int(table.offsets[-1]))
    factor[_hardest(table)] += shift
    return _scaled(columns, table, factor)


@own_settings()
def regions_scaled(
    columns: Any,
    spread: float,
    *,
    regions: int = 4,
    extent: float = 0.8,
    seed: int = 0,
    replica: int = 0,
) -> ak.Array:
    r"""Scale the constituents of each region of a jet by an independent normal factor.

    .. math:: E_r \to E_r (1 + N(0, s^2))

    The jet gets the sum of the changes; all other columns, groomed masses among them, stay. For a
    tagger whose logit is linear in the energies, its variance is :math:`\sum_r (w_r E_r s)^2`.
    A factor is decided by the seed, the replica, and by run, luminosity block, event, index and
    region of the jet.

    Reference: arXiv:1904.10004.

    Args:
        columns: Standard columns of jets with constituents, one jet per row (GeV).
        spread: Standard deviation s of the scales.
        regions: Number of intervals in each of the two directions.
        extent: As of `regions_of`.
        seed: Seed of the draws.
        replica: Number of the draw.

    Returns:
        The columns with the shifted kinematics.

    Raises:
        ConfigError: if the spread is not between 0 and 0.12, where every factor is positive.
        DataError: if a column is missing.
    """
    if not 0.0 <= spread < _LARGEST_SPREAD:
        msg = f"spread of the regions' scales is {spread}; needed: 0 to {_LARGEST_SPREAD:.2f}"
        raise ConfigError(msg)
    table = Table(columns, constituents=_MEMBERS)
    region = regions_of(columns, regions=regions, extent=extent)
    identity = [table.per_constituent(table[name]).astype(np.int64) for name in _IDENTITY]
    factor = 1.0 + spread * keyed_normals(seed, replica, *identity, region)
    return _scaled(columns, table, factor)


@own_settings()
def regions_of(columns: Any, *, regions: int = 4, extent: float = 0.8) -> NDArray[np.int64]:
    """Return the region of each constituent: a square of a grid around the axis of its jet.

    Args:
        columns: Standard columns of jets with constituents, one jet per row.
        regions: Number of intervals n in each of the two directions.
        extent: The grid reaches from -extent to extent in pseudorapidity and azimuth relative to
            the jet; what is beyond belongs to the outermost intervals.

    Returns:
        Numbers in [0, n^2), (items,).

    Raises:
        ConfigError: if there is no interval, or the extent is not positive.
    """
    if regions < 1 or not 0.0 < extent < np.inf:
        msg = f"regions {regions}, extent {extent}; needed: at least 1, positive and finite"
        raise ConfigError(msg)
    table = Table(columns, constituents=_MEMBERS)
    eta = table["constituents.eta"] - table.per_constituent(table["eta"])
    phi = wrapped(table["constituents.phi"] - table.per_constituent(table["phi"]))
    row, column = (
        np.clip(np.floor((x / extent + 1.0) * 0.5 * regions), 0, regions - 1) for x in (eta, phi)
    )
    return np.asarray(row * regions + column, dtype=np.int64)


def _hardest(table: Table) -> NDArray[np.int64]:
    """Return the place of the constituent with the largest pt of each jet that has any."""
    counts = np.diff(table.offsets)
    order = np.lexsort((-table["constituents.pt"], np.repeat(np.arange(table.rows), counts)))
    return np.asarray(order[table.offsets[:-1][counts > 0]], dtype=np.int64)


def _scaled(columns: Any, table: Table, factor: Floats) -> ak.Array:
    """Return the columns with each constituent, and their sum in the jet, scaled: (items,)."""
    before = _momenta(*(table[f"constituents.{name}"] for name in _MEMBERS))
    jet = _momenta(*(table[name] for name in _MEMBERS))
    px, py, pz, energy = (
        whole + table.sum((factor - 1.0) * part) for whole, part in zip(jet, before, strict=True)
    )
    pt = np.hypot(px, py)
    mass = np.sqrt(np.clip(energy**2 - pt**2 - pz**2, 0.0, None))
    changed = {"pt": pt, "eta": np.arcsinh(pz / pt), "phi": np.arctan2(py, px), "mass": mass}
    for name in ("pt", "mass"):
        values = ak.unflatten(factor * table[f"constituents.{name}"], np.diff(table.offsets))
        columns = ak.with_field(columns, values, ["constituents", name])
    untouched = table.sum(np.abs(factor - 1.0)) == 0.0
    for name, values in changed.items():
        columns = ak.with_field(columns, np.where(untouched, table[name], values), name)
    return columns


def _momenta(pt: Floats, eta: Floats, phi: Floats, mass: Floats) -> _Momenta:
    pz = pt * np.sinh(eta)
    energy = np.sqrt(pt**2 + pz**2 + mass**2)
    return _Momenta(pt * np.cos(phi), pt * np.sin(phi), pz, energy)
