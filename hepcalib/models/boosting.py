"""The fits of boosted trees, by hep_ml, and their trees as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["BOOSTING", "Trees", "boosted"]

BOOSTING = ("flatness", "plain", "uniform")


class Trees(NamedTuple):
    """Complete binary trees, node by node from the root; the children of n are 2n + 1, 2n + 2.

    A row goes to the second one where its feature exceeds the threshold.
    """

    feature: NDArray[np.int64]  # (trees, 2^depth - 1)
    threshold: Singles  # (trees, 2^depth - 1)
    value: Singles  # (trees, 2^depth)


def boosted(
    features: Singles,
    signal: Mask,
    *,
    method: str,
    trees: int,
    depth: int,
    learning_rate: float,
    strength: float,
    efficiency: float,
    bins: int,
    neighbours: int,
    subsample: float,
    seed: int,
    nuisance: Singles | None = None,
    weight: Singles | None = None,
) -> Trees:
    """Fit boosted trees; the keywords are those of `hepcalib.models.BoostedTrees`.

    Shapes:
        features: (rows, features); signal, weight: (rows,); nuisance: (rows, variables)

    Raises:
        TrainingError: if hep_ml is not installed, or one class has fewer rows than needed.
    """
    least = int(min(signal.sum(), (~signal).sum()))
    if least < 1:
        msg = f"BoostedTrees: {signal.sum()} of {len(signal)} rows are signal; both are needed"
        raise TrainingError(msg)
    weights = np.ones(len(signal)) if weight is None else weight.astype(np.float64)
    at = np.zeros((len(signal), 0)) if nuisance is None else _shares(nuisance, signal)
    common = {
        "n_estimators": trees,
        "learning_rate": learning_rate,
        "subsample": subsample,
        "random_state": seed,
    }
    try:
        if method == "uniform":
            near = _neighbours(at, signal, min(neighbours, least))
            made = _uniform(
                common, depth=depth, rate=strength, efficiency=efficiency, neighbours=near.shape[1]
            ).fit(features, signal.astype(int), sample_weight=weights, neighbours_matrix=near)
            members = [(one.tree_, _votes(one)) for one in made.estimators_]
            factors = np.asarray(made.estimator_weights_, dtype=np.float64)
        else:
            factor = strength if method == "flatness" else 0.0
            made = _flat(
                common | {"train_features": _names("feature", features)},
                depth=depth,
                loss=_loss(factor, _names("nuisance", at), bins),
            ).fit(_table(features, at), signal.astype(int), sample_weight=weights)
            members = [(one.tree_, np.asarray(leaves)) for one, leaves in made.estimators]
            factors = np.full(trees, learning_rate)
    except ImportError as error:
        msg = f"BoostedTrees need hep_ml ({error}); install hepcalib[boosting]"
        raise TrainingError(msg) from error
    return _stacked([_complete(*one, depth=depth) for one in members], factors)


def _flat(common: dict[str, Any], *, depth: int, loss: Any) -> Any:
    from hep_ml.gradientboosting import UGradientBoostingClassifier

    return UGradientBoostingClassifier(loss, max_depth=depth, **common)


def _loss(factor: float, nuisances: list[str], bins: int) -> Any:
    from hep_ml.losses import AdaLossFunction, BinFlatnessLossFunction

    if not factor:
        return AdaLossFunction()
    return BinFlatnessLossFunction(nuisances, uniform_label=0, n_bins=bins, fl_coefficient=factor)


def _uniform(
    common: dict[str, Any], *, depth: int, rate: float, efficiency: float, neighbours: int
) -> Any:
    from hep_ml.uboost import uBoostBDT
    from sklearn.tree import DecisionTreeClassifier

    return uBoostBDT(
        uniform_features=None,  # the neighbours are given
        uniform_label=0,
        target_efficiency=1.0 - efficiency,  # of what is taken for background
        n_neighbors=neighbours,
        base_estimator=DecisionTreeClassifier(max_depth=depth),
        uniforming_rate=rate,
        **common,
    )


def _names(kind: str, columns: NDArray[Any]) -> list[str]:
    return [f"{kind}{number}" for number in range(columns.shape[1])]


def _table(features: Singles, at: Floats) -> Any:
    """Return the data frame that hep_ml takes; it trains on the features alone."""
    import pandas as pd

    columns = dict(zip(_names("feature", features), features.T, strict=True))
    return pd.DataFrame(columns | dict(zip(_names("nuisance", at), at.T, strict=True)))


def _shares(nuisance: Singles, signal: Mask) -> Floats:
    """Return the share of background below each value, so that equal bins hold as many of it."""
    columns = [np.sort(column[~signal]) for column in nuisance.T]
    found = [
        0.5 * (np.searchsorted(known, column) + np.searchsorted(known, column, side="right"))
        for known, column in zip(columns, nuisance.T, strict=True)
    ]
    return np.asarray(np.stack(found, axis=1) / (~signal).sum())


def _neighbours(at: Floats, signal: Mask, number: int) -> NDArray[np.int64]:
    """Return the nearest rows of the same class, (rows, number)."""
    from scipy.spatial import KDTree

    result = np.zeros((len(at), number), dtype=np.int64)
    for members in (signal, ~signal):
        rows = np.flatnonzero(members)
        _, near = KDTree(at[rows]).query(at[rows], k=list(range(1, number + 1)))
        result[rows] = rows[near]
    return result


def _votes(tree: Any) -> Floats:
    """Return 1 for the leaves that say signal, else -1."""
    said = tree.classes_[tree.tree_.value[:, 0, :].argmax(axis=1)]
    return np.asarray(2.0 * said - 1.0)


def _complete(tree: Any, leaves: Floats, *, depth: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return a tree in which a branch that ends early goes on to equal leaves."""
    feature = np.zeros(2**depth - 1, dtype=np.int64)
    threshold, value = np.zeros(2**depth - 1), np.zeros(2**depth)
    waiting = [(0, 0)]
    while waiting:
        node, place = waiting.pop()
        if place >= len(feature):
            value[place - len(feature)] = leaves[node]
            continue
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            left = right = node
        else:
            feature[place], threshold[place] = tree.feature[node], tree.threshold[node]
        waiting += [(left, 2 * place + 1), (right, 2 * place + 2)]
    return feature, threshold, value


def _stacked(parts: list[tuple[NDArray[np.int64], Floats, Floats]], factors: Floats) -> Trees:
    feature, threshold, value = (np.stack(column) for column in zip(*parts, strict=True))
    rounded = threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))  # single features compare as with doubles
    return Trees(
        feature,
        np.where(rounded > threshold, below, rounded),
        (value * factors[:, None]).astype(np.float32),
    )
