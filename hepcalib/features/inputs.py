"""Inputs of a model: standard columns to named, transformed features with validity ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.features import extraction
from hepcalib.features.catalogue import CATALOGUE, feature
from hepcalib.features.table import CONSTITUENTS, Table
from hepcalib.features.transforms import Chain
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from hepcalib.features.feature import Feature

__all__ = ["Inputs"]

# An object is in range inside these quantiles of every feature of the training sample.
_ROBUST = (1e-4, 1 - 1e-4)


class Inputs(nn.Module):
    """The input layer of a model: features by name, their transforms and validity ranges.

    `extract` reads raw values from columns, `fit` learns constants from them, `forward` applies
    the transforms. Constants and ranges are buffers, saved with the weights of the model.

    Args:
        features: Catalogue keys of the object features, such as "cluster.energy".
        constituents: Catalogue keys of the constituent features, such as "constituent.delta_eta".

    Raises:
        ConfigError: if a key is unknown, repeated or of the wrong kind, or there are none.
    """

    ranges: Tensor
    robust_ranges: Tensor
    constituent_ranges: Tensor

    def __init__(self, *, features: Sequence[str] = (), constituents: Sequence[str] = ()) -> None:
        super().__init__()
        self.names, self.constituent_names = tuple(features), tuple(constituents)
        objects, items = _features(self.names, "object"), _features(constituents, "constituent")
        self.object = _object(self.names, self.constituent_names)
        self.transforms = nn.ModuleList(Chain(found.transforms) for found in objects)
        self.constituent_transforms = nn.ModuleList(Chain(found.transforms) for found in items)
        for name, length in (
            ("ranges", len(self.names)),
            ("robust_ranges", len(self.names)),
            ("constituent_ranges", len(self.constituent_names)),
        ):
            self.register_buffer(name, torch.full((length, 2), float("nan"), dtype=torch.float32))

    @property
    def config(self) -> dict[str, Any]:
        """The constructor keywords, JSON-able."""
        return {"features": list(self.names), "constituents": list(self.constituent_names)}

    @property
    def definition(self) -> dict[str, list[dict[str, Any]]]:
        """Every input with its unit and its transforms, in order, JSON-able."""
        return {
            part: [
                {
                    "name": key,
                    "unit": CATALOGUE[key].unit,
                    "transforms": [dict(step) for step in CATALOGUE[key].transforms],
                }
                for key in keys
            ]
            for part, keys in self.config.items()
        }

    @property
    def needs(self) -> set[str]:
        """Standard columns that `extract` reads; those of constituents as "constituents.pt"."""
        keys = (*self.names, *self.constituent_names)
        needed = {column for key in keys for column in CATALOGUE[key].needs}
        return needed | {f"{CONSTITUENTS}.pt"} if self.constituent_names else needed

    @property
    def fitted(self) -> bool:
        """Whether the constants and the ranges have been learned."""
        return not bool(torch.cat([self.ranges, self.constituent_ranges]).isnan().any())

    def extract(self, columns: Any) -> Batch:
        """Compute the raw, untransformed features of standard columns.

        Args:
            columns: Clusters or jets, one per row, or jagged `events * var * {...}`, whose objects
                are then taken in order; units GeV, mm, ns.

        Returns:
            Features (rows, F) and constituents (items, C), None for those not asked for; float32,
            or float64 where components of momenta are among them.

        Raises:
            DataError: if a column is missing, a feature is not finite (naming the feature, the
                first row, its value and how many there are), or a constituent has pt <= 0.
            ShapeError: if columns have different lengths.
        """
        return self.extract_rows(self.table(columns))

    def table(self, columns: Any) -> Table:
        """Return the columns as the features read them; see `extract`.

        Raises:
            DataError: if there are no named columns.
            ShapeError: if columns have different lengths.
        """
        prefix = f"{CONSTITUENTS}."
        members = {name.removeprefix(prefix) for name in self.needs if name.startswith(prefix)}
        return Table(columns, constituents=members)

    def extract_rows(self, table: Table, *, order: Literal["C", "F"] = "C") -> Batch:
        """Compute the raw features of a table or of a part of one; see `extract`.

        Args:
            table: From `table`; an error names the row of the whole.
            order: How features lie in memory, item by item (C) or feature by feature (F), which is
                faster for what is done to each feature.
        """
        features, constituents = extraction.matrices(
            table, self.names, self.constituent_names, order=order
        )
        if constituents is None:
            return Batch(features=features)
        return Batch(features, Ragged(constituents, torch.from_numpy(table.offsets)))

    def fit(self, batch: Batch) -> Self:
        """Learn the constants of the transforms and the validity ranges from raw features.

        Raises:
            DataError: if there are no rows or no constituents, or a value is not finite.
            ShapeError: if the batch does not have these features.
        """
        features, constituents = self._parts(batch)
        if features is not None:
            _fit(self.names, self.transforms, features)
            self.ranges.copy_(_quantiles(features, (0.0, 1.0)))
            self.robust_ranges.copy_(_quantiles(features, _ROBUST))
        if constituents is not None:
            values = constituents.packed().values
            _fit(self.constituent_names, self.constituent_transforms, values)
            self.constituent_ranges.copy_(_quantiles(values, (0.0, 1.0)))
        return self

    def forward(self, batch: Batch) -> Batch:
        """Transform raw features into what the model sees; same shapes."""
        features, constituents = self._parts(batch)
        if features is not None:
            features = _transformed(self.transforms, features)
        if constituents is not None:
            constituents = constituents.map(
                lambda values: _transformed(self.constituent_transforms, values)
            )
        return Batch(features=features, constituents=constituents)

    def in_range(self, batch: Batch) -> Tensor:
        """Flag the objects that the training sample covers; nothing is, before `fit`.

        Object features must lie in their central 99.98 % range. Constituents must lie in the full
        range of theirs: with dozens in a jet, even rare values are normal.

        Shapes:
            raw batch of rows -> (rows,) bool
        """
        features, constituents = self._parts(batch)
        result = torch.ones(batch.rows, dtype=torch.bool, device=self.ranges.device)
        if features is not None:
            result &= ~_outside(features, self.robust_ranges)
        if constituents is not None:
            packed = constituents.packed()
            items = _outside(packed.values, self.constituent_ranges).nonzero().squeeze(1)
            result[torch.searchsorted(packed.offsets, items, right=True) - 1] = False
        return result

    def _parts(self, batch: Batch) -> tuple[Tensor | None, Ragged | None]:
        widths = (
            None if batch.features is None else batch.features.shape[1],
            None if batch.constituents is None else batch.constituents.values.shape[1],
        )
        expected = (len(self.names) or None, len(self.constituent_names) or None)
        if widths != expected:
            msg = f"batch has (features, constituent features) {widths}; needed: {expected}"
            raise ShapeError(msg)
        return batch.features, batch.constituents


def _features(keys: Sequence[str], kind: str) -> tuple[Feature, ...]:
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        msg = f"features are listed twice: {', '.join(repeated)}"
        raise ConfigError(msg)
    features = tuple(feature(key) for key in keys)
    for key, found in zip(keys, features, strict=True):
        if found.kind != kind:
            msg = f"'{key}' is a feature of each {found.kind}; needed here: {kind} features"
            raise ConfigError(msg)
    return features


def _object(features: tuple[str, ...], constituents: tuple[str, ...]) -> str:
    """Return whose features these are, "cluster" or "jet"."""
    owners = {key.partition(".")[0] for key in features} | ({"jet"} if constituents else set())
    if len(owners) != 1:
        seen = " and ".join(sorted(owners)) or "nothing"
        msg = f"inputs describe {seen}; needed: features of clusters, or of jets"
        raise ConfigError(msg)
    return owners.pop()


def _fit(keys: tuple[str, ...], transforms: nn.ModuleList, values: Tensor) -> None:
    chains = cast("Sequence[Chain]", transforms)
    for index, (key, chain) in enumerate(zip(keys, chains, strict=True)):
        try:
            chain.fit(values[:, index])
        except DataError as error:
            msg = f"feature '{key}': {error}"
            raise DataError(msg) from error


def _transformed(transforms: nn.ModuleList, values: Tensor) -> Tensor:
    columns = zip(transforms, values.unbind(dim=1), strict=True)
    found = [chain(column) for chain, column in columns]
    if values.is_contiguous():
        return torch.stack(found, dim=1)
    return torch.stack(found).t()  # feature by feature in memory, as the values are


def _quantiles(values: Tensor, levels: tuple[float, float]) -> Tensor:
    """Lower and upper quantile of each column, widened to values that occur: (F, 2)."""
    matrix = values.detach().cpu().numpy()
    low = np.quantile(matrix, levels[0], axis=0, method="lower")
    high = np.quantile(matrix, levels[1], axis=0, method="higher")
    return torch.from_numpy(np.stack([low, high], axis=1))


def _outside(values: Tensor, ranges: Tensor) -> Tensor:
    """Flag rows with a value outside the range of its column, NaN included: (rows,)."""
    values = values.to(ranges.dtype)  # the ends of the ranges are rounded values
    outside = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    for column, (low, high) in zip(values.unbind(1), ranges.unbind(0), strict=True):
        if values.is_cpu and len(values):  # a GPU would have to be waited for
            smallest, largest = column.aminmax()
            if low <= smallest and largest <= high:
                continue
        outside |= ~((column >= low) & (column <= high))
    return outside
