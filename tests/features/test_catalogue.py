from __future__ import annotations

import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.features import CATALOGUE, Chain, catalogue


def test_keys_name_their_features() -> None:
    owners = {"cluster": "object", "jet": "object", "constituent": "constituent"}
    for key, feature in CATALOGUE.items():
        owner, _, name = key.partition(".")
        assert (feature.name, feature.kind) == (name, owners[owner])
    assert len(CATALOGUE) == 16 + 11 + 20


@pytest.mark.parametrize("key", CATALOGUE)
def test_transforms_can_be_built(key: str) -> None:
    transforms = CATALOGUE[key].transforms
    assert Chain(transforms).config["steps"] == [dict(step) for step in transforms]


def test_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'cluster.energy'"):
        catalogue.feature("cluster.enregy")


def test_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        CATALOGUE["cluster.energy"] = CATALOGUE["cluster.mu"]  # type: ignore[index]  # refused, as it must be
