"""Bundles that the Athena tool could read, untrained but not trivial, and clusters for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib import bundles, ntuples
from hepcalib.features import Inputs
from hepcalib.features.clusters import FEATURES
from hepcalib.models import MLP, MixtureHead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

NAMES = tuple(f"cluster.{feature.name}" for feature in FEATURES)[:15]


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory, cluster_file: Callable[..., Path]) -> Any:
    path = cluster_file(tmp_path_factory.mktemp("clusters") / "c.root", clusters=1000)
    return ntuples.read(path, "cluster_tree")


@pytest.fixture(scope="session")
def inputs(clusters: Any) -> Inputs:
    found = Inputs(features=NAMES)
    return found.fit(found.extract(clusters))


@pytest.fixture(scope="session")
def features(clusters: Any, inputs: Inputs) -> Batch:
    """The transformed features of the clusters."""
    found: Batch = inputs(inputs.extract(clusters))
    return found


@pytest.fixture
def mlp() -> Callable[..., MLP]:
    """A network whose last layer is not small, so that the outputs vary."""

    def make(*, head: Any = None, features: int = 15, activation: str = "silu") -> MLP:
        torch.manual_seed(5)
        head = head or MixtureHead(components=3, shift=-0.03, scale=0.15)
        model = MLP(features=features, hidden=(16, 12), head=head, activation=activation)
        with torch.no_grad():
            model.get_parameter("network.4.weight").mul_(30.0)
        return model

    return make


@pytest.fixture
def saved(tmp_path: Path, inputs: Inputs) -> Callable[..., Bundle]:
    def save(model: Model, *, other: Model | None = None, **options: Any) -> Bundle:
        """Save the model; `other` takes its place afterwards."""
        settings: dict[str, Any] = {"kind": "response", "object": "cluster", "name": "x"}
        given = {"inputs": inputs, **settings, **options}
        bundle = bundles.save(tmp_path / "bundle", model, given.pop("inputs"), **given)
        return bundle if other is None else replace(bundle, model=other.eval())

    return save
