"""Models are looked at without their values, however large they would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hepcalib import models
from hepcalib.config import ModelConfig, load
from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.blueprints import blueprint
from hepcalib.pipeline.training import completed, network

MLP: dict[str, Any] = {"name": "MLP", "features": 3, "hidden": [4], "head": {"name": "NormalHead"}}
CONFIGS = Path(__file__).parents[2] / "analysis_configs"


@pytest.mark.parametrize("name", ["topoclusters", "decorrelation", "constituent_taggers"])
def test_it_is_the_model_without_its_values(name: str) -> None:
    found = load(CONFIGS / f"{name}.yaml").config.models
    seen = set()
    for model in found.values():
        if isinstance(model, ModelConfig) and str(model.network) not in seen:
            seen.add(str(model.network))
            made = blueprint(completed(model.network, model, None))
            real = network(model)
            assert models.describe(made) == models.describe(real)
            assert [p.shape for p in made.parameters()] == [p.shape for p in real.parameters()]
            assert all(p.is_meta for p in made.parameters())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden": [10**9]}, r"has 6e\+09 parameters; needed: at most 1e\+09"),
        ({"hidden": [10**7, 10**7]}, r"has 1e\+14 parameters"),
        ({"hidden": [4] * 10_000}, "has too many parts"),
        ({"hidden": "44"}, r"model\.hidden: .*needed: Sequence"),
        ({"hidden": [4.5]}, r"model\.hidden: .*needed: Sequence"),
        ({"hidden": [True]}, r"model\.hidden: .*needed: Sequence"),
        ({"activation": 3}, "activation"),
    ],
)
def test_what_no_machine_can_hold_or_no_model_takes(changes: dict[str, Any], expected: str) -> None:
    blueprint(MLP)
    with pytest.raises(ConfigError, match=expected):
        blueprint({**MLP, **changes})
    blueprint(MLP)  # the limit counts each model by itself


def test_an_ensemble_of_too_many() -> None:
    deep = {**MLP, "hidden": [4] * 20}
    blueprint({"name": "DeepEnsemble", "members": 10, "model": deep})
    with pytest.raises(ConfigError, match="has too many parts"):
        blueprint({"name": "DeepEnsemble", "members": 1000, "model": deep})
