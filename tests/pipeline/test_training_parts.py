from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib.config import scan_models
from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.learnable import part_mask, validation_mask
from hepcalib.pipeline.training import training_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.config import Loaded, ModelConfig

EVENTS = np.arange(50_000)
PARTS = 7


def test_parts_are_disjoint_complete_and_of_about_one_size() -> None:
    masks = np.stack([part_mask(EVENTS, part, PARTS) for part in range(1, PARTS + 1)])
    assert np.array_equal(masks.sum(axis=0), np.ones(len(EVENTS)))
    expected = len(EVENTS) / PARTS
    assert np.abs(masks.sum(axis=1) - expected).max() < 4.0 * np.sqrt(expected)
    assert part_mask(EVENTS, 1, 1).all()


def test_parts_have_their_share_of_the_validation_events() -> None:
    kept, fraction = validation_mask(EVENTS, 0.2), 0.2
    for part in range(1, PARTS + 1):
        mine = part_mask(EVENTS, part, PARTS)
        error = np.sqrt(fraction * (1.0 - fraction) / mine.sum())
        assert kept[mine].mean() == pytest.approx(fraction, abs=4.0 * error)
    assert not np.isclose(kept[kept].mean(), fraction, atol=0.1)  # of events chosen by it


def test_an_event_stays_in_its_part() -> None:
    some = EVENTS[::-5]
    assert np.array_equal(part_mask(some, 3, PARTS), part_mask(EVENTS, 3, PARTS)[some])


def model(**training: Any) -> dict[str, Any]:
    return {
        "kind": "response",
        "object": "cluster",
        "datasets": ["clusters"],
        "inputs": {"features": ["cluster.energy"]},
        "network": {
            "name": "RepulsiveEnsemble",
            "members": 1,
            "repulsion": 0,
            "model": {"name": "MLP", "head": {"name": "NormalHead"}},
        },
        "training": training,
    }


@pytest.fixture
def parts(loaded: Callable[..., Loaded]) -> Callable[..., Loaded]:
    def with_training(**training: Any) -> Loaded:
        return loaded(
            samples={"made": {"kind": "topoclusters", "clusters": 30, "seed": 1}},
            datasets={"clusters": {"sample": "made"}},
            models={"plain": model(**training)},
            scans={
                "several": {
                    "model": "plain",
                    "key": ["training.part", "network.seed"],
                    "values": [1, 2, 3],
                }
            },
        )

    return with_training


def test_a_scan_of_two_keys_gives_both_the_same_value(parts: Callable[..., Loaded]) -> None:
    config = parts(parts=3).config
    for value, name in scan_models(config, "several").items():
        found: ModelConfig = config.models[name]  # type: ignore[assignment]  # none is a bundle
        assert found.training.part == found.network["seed"] == value
    assert "seed" not in config.models["plain"].network  # type: ignore[union-attr]  # as above


def test_a_part_that_there_is_not_is_refused(parts: Callable[..., Loaded]) -> None:
    config = parts(part=2, parts=2).config
    found: ModelConfig = config.models["several-3"]  # type: ignore[assignment]  # no bundle
    with pytest.raises(ConfigError, match="part 3 of 2; needed: one of the parts"):
        training_options(found)
