from __future__ import annotations

from typing import Any

import pytest

from hepcalib import models
from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, Bayesian, NormalHead, build, describe

SPEC: dict[str, Any] = {
    "name": "Bayesian",
    "model": {"name": "MLP", "features": 3, "hidden": [8], "head": {"name": "MixtureHead"}},
    "draws": 4,
}


def test_all_is_sorted_and_complete() -> None:
    assert models.__all__ == [
        "EFN",
        "GN2",
        "MLP",
        "PFN",
        "Bayesian",
        "BernoulliHead",
        "BoostedTrees",
        "CapsuleHead",
        "Conformal",
        "DeepEnsemble",
        "Dropout",
        "Evidential",
        "EvidentialHead",
        "FlowLikelihood",
        "GaussianAnsatz",
        "GeneralisedInversion",
        "Head",
        "InversionHead",
        "JetImages",
        "Labelled",
        "Laplace",
        "LogNormalHead",
        "LogNormalMixtureHead",
        "LorentzNet",
        "MixtureHead",
        "Model",
        "NormalHead",
        "ParticleNet",
        "ParticleNetLite",
        "ParticleTransformer",
        "PointHead",
        "Recurrent",
        "RepulsiveEnsemble",
        "build",
        "describe",
    ]


def test_build_makes_the_nested_model_with_defaults() -> None:
    model = build(SPEC)
    assert isinstance(model, Bayesian)
    assert model.head.outputs == 9
    assert describe(model) == {
        "name": "Bayesian",
        "model": {
            "name": "MLP",
            "features": 3,
            "hidden": [8],
            "head": {"name": "MixtureHead", "components": 3, "shift": 0.0, "scale": 1.0},
            "activation": "silu",
        },
        "prior_precision": 1.0,
        "draws": 4,
        "seed": 0,
        "initial_log_variance": -9.0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Bayesain"}, "model.name: unknown model 'Bayesain'.*Did you mean 'Bayesian'"),
        ({"name": "NormalHead"}, "unknown model 'NormalHead'"),
        ({"name": "Model"}, "unknown model 'Model'"),
        ({"name": "build"}, "unknown model 'build'"),
        ({"name": "torch.nn.Linear"}, "unknown model 'torch.nn.Linear'"),
        ({"drawz": 3}, "model.drawz: unknown keyword of Bayesian.*Did you mean 'draws'"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": "many"}, "model.draws: 'many'; needed: int"),
        ({"model": {"name": "MLP", "features": 3}}, "model.model.head: missing"),
        ({"model": "MLP"}, "model.model: 'MLP'; needed: a mapping"),
        ({"model": {"features": 3}}, "needed: a mapping with a name"),
        (
            {"model": {**SPEC["model"], "head": {"name": "MLP"}}},
            "model.model.head.name: unknown head 'MLP'",
        ),
        (
            {"model": {**SPEC["model"], "hidden": 8}},
            r"model.model.hidden: 8; needed: Sequence\[int\]",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build({**SPEC, **change})


HEADS = [name for name in models.__all__ if name.endswith("Head") and name != "Head"]


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_built_from_its_name_alone(head: str) -> None:
    model = build({"name": "MLP", "features": 2, "head": {"name": head}})
    assert type(model.head).__name__ == head
    again = build(describe(model))
    assert describe(again) == describe(model)
    assert again.head.outputs == model.head.outputs
    with pytest.raises(ConfigError, match=rf"model\.head\.args: unknown keyword of {head}"):
        build({"name": "MLP", "features": 2, "head": {"name": head, "args": 1}})


@pytest.mark.parametrize("name", ["Labelled", "Head", "describe", "NormalHead"])
def test_what_is_no_model_is_not_built(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown model '{name}'"):
        build({"name": name})


def test_a_wrapper_that_refuses_its_model_says_where() -> None:
    inner = {"name": "DeepEnsemble", "model": SPEC["model"], "members": 2}
    with pytest.raises(ConfigError, match="Dropout: DeepEnsemble has members of its own"):
        build({"name": "Dropout", "model": inner})
    with pytest.raises(ConfigError, match=r"model\.model\.members: unknown keyword of MLP"):
        build({"name": "Conformal", "model": {**SPEC["model"], "members": 2}})


def test_a_model_from_elsewhere_cannot_be_described() -> None:
    class Other(MLP):
        pass

    with pytest.raises(ConfigError, match="unknown model 'Other'"):
        describe(Other(features=2, head=NormalHead()))
