"""What is done to a score after the training, so that it does not depend on a nuisance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit

from hepcalib.calibration.sample_location import sample_quantiles
from hepcalib.exceptions import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["Background", "Decorrelator", "background", "levels", "require_mass_first"]

MINIMUM = 100  # background jets, below which no dependence can be learnt
# Probabilities at which the background of the new score is tabulated: fine in both tails.
_TAIL = np.logspace(-6, -2, 81)[:-1]
PROBABILITIES = np.concatenate([_TAIL, np.linspace(0.01, 0.99, 491), 1.0 - _TAIL[::-1]])


class Background(NamedTuple):
    """Background jets to learn from: scores, nuisances side by side, weights of sum 1."""

    score: Floats  # (rows,)
    values: Floats  # (rows, variables)
    weight: Floats  # (rows,)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest value of each nuisance."""
        low, high = self.values.min(0), self.values.max(0)
        return tuple(zip(low.tolist(), high.tolist(), strict=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Decorrelator(ABC):
    """A new score from an old one and the nuisances, rising with the old one at fixed nuisances.

    The new score is between 0 and 1 and, for the background that it was fitted to, uniform: a cut
    at 1 - e leaves a share e of it. Nuisances outside their range are taken at its end; `in_range`
    tells which.

    Args:
        variables: Names of the nuisances, standard columns, at most two.
        ranges: Lowest and highest value of each that the fit has seen.
        table: Decorrelated values of the background at the probabilities `PROBABILITIES`.
    """

    variables: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    table: Floats

    @abstractmethod
    def values(self, score: Floats, nuisances: Floats) -> Floats:
        """Return decorrelated values on any scale.

        Shapes:
            score: (rows,); nuisances: (rows, variables), inside their ranges -> (rows,)
        """

    def __call__(self, score: ArrayLike, nuisances: Mapping[str, ArrayLike]) -> Floats:
        """Return the new score in [0, 1].

        Args:
            score: Old scores (rows,).
            nuisances: Values (rows,) of each of the variables, in their units.

        Raises:
            DataError: if a nuisance is missing, or a value is not finite.
            ShapeError: if the lengths differ.
        """
        scores = np.asarray(score, dtype=np.float64)
        columns = _columns(self.variables, nuisances, rows=len(scores))
        _require_finite(scores, "score")
        low, high = np.asarray(self.ranges).reshape(-1, 2).T
        return _share(self.values(scores, np.clip(columns, low, high)), self.table)

    def in_range(self, nuisances: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Tell which objects have nuisances in the range that the fit has seen, (rows,) bool."""
        rows = len(np.asarray(nuisances[self.variables[0]]))
        columns = _columns(self.variables, nuisances, rows=rows)
        low, high = np.asarray(self.ranges).reshape(-1, 2).T
        return np.asarray(((columns >= low) & (columns <= high)).all(axis=1))

    @property
    def state(self) -> dict[str, Any]:
        """All that `from_state` needs, as JSON can hold it."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in found.items()
        }

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """Return what had this state.

        Raises:
            ConfigError: if a part is missing, unknown or of another kind.
        """
        kinds = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(state, Mapping) or state.keys() != kinds.keys():
            seen = sorted(state) if isinstance(state, Mapping) else repr(state)[:100]
            msg = f"{cls.__name__}: state has {seen}; needed: {sorted(kinds)}"
            raise ConfigError(msg)
        try:
            made = cls(**{name: _of_kind(state[name], kind) for name, kind in kinds.items()})
        except (TypeError, ValueError, OverflowError) as error:
            msg = f"{cls.__name__}: {error}"
            raise ConfigError(msg) from error
        made.require_whole()
        return made

    def require_whole(self) -> None:
        """Refuse parts that do not fit together, before anything is computed with them.

        Raises:
            ConfigError: naming them.
        """
        ordered = all(low <= high for low, high in self.ranges)
        known = 1 <= len(self.variables) == len(self.ranges) <= 2
        if not ordered or not known or self.table.shape != PROBABILITIES.shape:
            msg = (
                f"{type(self).__name__}: variables {self.variables}, ranges {self.ranges}, a table "
                f"of shape {self.table.shape}; needed: a range of each, {PROBABILITIES.shape}"
            )
            raise ConfigError(msg)


def _of_kind(value: Any, kind: str) -> Any:
    """Return a value of a state as the annotation of its field says.

    Raises:
        TypeError, ValueError: if it is something else.
    """
    if kind == "Floats":
        array = np.asarray(value, dtype=np.float64)
        if not np.isfinite(array).all():
            msg = "a number is not finite"
            raise ValueError(msg)
        return array
    if kind.startswith("tuple["):
        if not isinstance(value, list | tuple):
            msg = f"{repr(value)[:100]}; needed: a list"
            raise TypeError(msg)
        inner = kind.removeprefix("tuple[").removesuffix("]").removesuffix(", ...")
        kinds = [inner] * len(value) if kind.endswith(", ...]") else inner.split(", ")
        return tuple(_of_kind(item, own) for item, own in zip(value, kinds, strict=True))
    wanted: dict[str, type] = {"int": Integral, "float": Real, "str": str, "bool": bool}
    fits = isinstance(value, wanted[kind]) and (kind == "bool" or not isinstance(value, bool))
    if not fits or (kind == "float" and not math.isfinite(value)):
        msg = f"{repr(value)[:100]}; needed: {kind}"
        raise TypeError(msg)
    return value


def background(
    score: ArrayLike,
    nuisances: Mapping[str, ArrayLike],
    weight: ArrayLike | None,
    *,
    where: str,
    variables: tuple[int, ...] = (1, 2),
) -> Background:
    """Return background jets as arrays, once they can be learnt from.

    Args:
        score: Scores (rows,).
        nuisances: Values (rows,) by name.
        weight: Event weights (rows,), None for 1.
        where: What they are for, in messages.
        variables: Allowed numbers of nuisances.

    Raises:
        ConfigError: if there are too few or too many nuisances.
        ShapeError: if the lengths differ.
        DataError: if a value is not finite, a weight negative, a score constant, or there are fewer
            than 100 jets of positive weight.
    """
    if len(nuisances) not in variables:
        allowed = " or ".join(str(number) for number in variables)
        msg = f"{where}: nuisances {list(nuisances)}; needed: {allowed}"
        raise ConfigError(msg)
    scores = np.asarray(score, dtype=np.float64)
    columns = _columns(tuple(nuisances), nuisances, rows=len(scores))
    w = np.ones(len(scores)) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != scores.shape:
        msg = f"{where}: {len(scores)} scores, weight of shape {w.shape}; needed: as many"
        raise ShapeError(msg)
    _require_finite(scores, f"{where}: score")
    _require_finite(w, f"{where}: weight")
    if (w < 0).any():
        row = int((w < 0).argmax())
        msg = f"{where}: weight {w[row]} in row {row}; needed: not negative"
        raise DataError(msg)
    kept = w > 0
    if kept.sum() < MINIMUM:
        msg = f"{where}: {kept.sum()} background jets of positive weight; needed: {MINIMUM}"
        raise DataError(msg)
    if np.ptp(scores[kept]) == 0:
        msg = f"{where}: all scores are {scores[kept][0]}; there is nothing to decorrelate"
        raise DataError(msg)
    return Background(scores[kept], columns[kept], w[kept] / w[kept].sum())


def require_mass_first(nuisances: Mapping[str, ArrayLike], *, where: str) -> None:
    """Refuse nuisances that begin with pt, where the mass has to come before it.

    Raises:
        ConfigError: naming them.
    """
    names = list(nuisances)
    if names[0] == "pt":
        msg = f"{where}: nuisances {names}; needed: the mass, then pt"
        raise ConfigError(msg)


def levels(values: Floats, weight: Floats) -> Floats:
    """Return the quantiles of decorrelated background values at `PROBABILITIES`."""
    return sample_quantiles(values, PROBABILITIES, weight=weight)


def _share(values: Floats, table: Floats) -> Floats:
    """Return the share of background below values, beyond the table with falling tails."""
    kept = np.concatenate([[True], np.diff(table) > 0])
    nodes, logits = table[kept], np.log(PROBABILITIES / (1.0 - PROBABILITIES))[kept]
    if len(nodes) < 2:
        return np.full(len(values), 0.5)
    result = np.interp(values, nodes, logits)
    span = nodes[-1] - nodes[0]
    for end, sign in ((0, -1.0), (-1, 1.0)):
        beyond = np.clip(sign * (values - nodes[end]), 0.0, None)
        result = result + sign * (logits[-1] - logits[0]) * beyond / span
    return np.asarray(expit(result))


def _columns(names: tuple[str, ...], nuisances: Mapping[str, ArrayLike], *, rows: int) -> Floats:
    columns = []
    for name in names:
        if name not in nuisances:
            msg = f"nuisance '{name}' is missing; there are {', '.join(nuisances)}"
            raise DataError(msg)
        column = np.asarray(nuisances[name], dtype=np.float64)
        if column.shape != (rows,):
            msg = f"nuisance '{name}' has shape {column.shape} for {rows} scores"
            raise ShapeError(msg)
        _require_finite(column, f"nuisance '{name}'")
        columns.append(column)
    return np.stack(columns, axis=1)


def _require_finite(values: Floats, what: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(bad.argmax())
        msg = f"{what} is {values[row]} in row {row}, and not finite for {int(bad.sum())}"
        raise DataError(msg)
