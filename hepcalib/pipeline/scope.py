"""What a decorrelation is for: a warning where it would hide an uncertainty instead."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from hepcalib.config.schema import ModelConfig
from hepcalib.exceptions import ScopeWarning
from hepcalib.ntuples.columns import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hepcalib.config import Loaded

__all__ = ["SIMULATED_ONLY", "warn_of_scope"]

_TRUTH = {"label", "flavour", "weight", "true_energy", "pdg_id", "oracle_response"}
SIMULATED_ONLY = frozenset(
    name
    for columns in STANDARD.values()
    for name, column in columns.items()
    if name in _TRUTH or column.level == "gen"
)
"""Standard columns that data do not have, or not with this meaning: generator, truth, weights."""


def warn_of_scope(loaded: Loaded) -> None:
    """Warn of every nuisance that data do not have.

    The mass, pile-up or any other measured column has a distribution that data can check. What only
    a simulation knows stands for a choice of the theory: a score that does not depend on it shows a
    smaller difference between two simulations, and nothing about their difference from nature.

    Reference: arXiv:2109.08159.

    Args:
        loaded: The configuration whose penalties, planing, boosting and decorrelators are read.
    """
    for place, column in _nuisances(loaded):
        if column in SIMULATED_ONLY:
            msg = (
                f"{place}: nuisance '{column}' exists in simulation only. Independence of what "
                "stands for a theory uncertainty makes that look smaller than it is "
                "(arXiv:2109.08159); decorrelate from what is measured"
            )
            warnings.warn(msg, ScopeWarning, stacklevel=2)


def _nuisances(loaded: Loaded) -> Iterator[tuple[str, str]]:
    for name, model in loaded.config.models.items():
        if isinstance(model, ModelConfig):
            key = "uniform_in" if model.penalty is None else "penalty"
            yield from ((f"models.{name}.{key}", column) for column in model.nuisances)
            for column in model.planing.variables if model.planing is not None else ():
                yield f"models.{name}.planing", column
    for name, wanted in loaded.config.decorrelators.items():
        yield from ((f"decorrelators.{name}", column) for column in wanted.variables)
