"""What cannot be learnt is refused before anything is simulated or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.pipeline import reachable
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.learnable import learnable, part_mask, validation_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]

CLUSTERS: dict[str, Any] = {
    "kind": "response",
    "object": "cluster",
    "datasets": ["train"],
    "inputs": {"features": ["cluster.energy"]},
    "network": {"name": "MLP", "hidden": [4], "head": {"name": "NormalHead"}},
}
TAGGER: dict[str, Any] = {
    **CLUSTERS,
    "kind": "tagger",
    "object": "jet",
    "inputs": {"features": ["jet.eta"]},
    "network": {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}},
}


def of_clusters(loaded: Load, clusters: int, **training: Any) -> Loaded:
    return loaded(
        samples={"made": {"kind": "topoclusters", "clusters": clusters, "seed": 1}},
        datasets={"train": {"sample": "made"}},
        models={"m": {**CLUSTERS, "training": training}},
    )


def of_jets(loaded: Load, *processes: str, **model: Any) -> Loaded:
    events = {"kind": "jets", "events": 50, "seed": 1}
    return loaded(
        samples={f"s{i}": {**events, "process": p} for i, p in enumerate(processes)},
        datasets={f"s{i}": {"sample": f"s{i}"} for i in range(len(processes))},
        models={"m": {**TAGGER, "datasets": [f"s{i}" for i in range(len(processes))], **model}},
    )


def test_more_clusters_than_there_will_be(loaded: Load) -> None:
    check(of_clusters(loaded, 1000, examples=780))
    with pytest.raises(
        ConfigError, match=r"models\.m: training\.examples is 1001; there are 8\d\d"
    ):
        check(of_clusters(loaded, 1000, examples=1001))
    with pytest.raises(ConfigError, match=r"training\.examples is 300; there are 2\d\d"):
        check(of_clusters(loaded, 1000, examples=300, parts=5))
    with pytest.raises(ConfigError, match=r"clusters to learn from and \d+ to val"):
        check(of_clusters(loaded, 10, validation_fraction=1e-12))


@pytest.mark.parametrize(
    ("processes", "signal", "possible"),
    [
        (("qcd", "wprime"), 1, True),
        (("qcd", "top"), 1, True),
        (("qcd", "top"), 2, True),
        (("qcd", "wprime"), 2, False),
        (("qcd", "wprime"), 7, False),
        (("qcd",), 1, False),
        (("wprime", "top"), 2, False),
    ],
)
def test_labels_that_the_samples_will_have(
    loaded: Load, processes: tuple[str, ...], signal: int, possible: bool
) -> None:
    config = of_jets(loaded, *processes, signal=signal)
    if possible:
        check(config)
        return
    with pytest.raises(ConfigError, match=rf"needed: 0 and the signal, {signal}"):
        check(config)


def of_file(loaded: Load, path: Path, layout: str = "flat_jets", **model: Any) -> Loaded:
    datasets = {"train": {"files": [str(path)], "layout": layout}}
    return loaded(datasets=datasets, models={"m": {**TAGGER, **model}})


def test_labels_and_numbers_in_a_file(
    loaded: Load, jet_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jet_file(tmp_path / "jets.root")
    config = of_file(loaded, path)
    model: Any = config.config.models["m"]
    usable = learnable(config, model).identity
    kept = validation_mask(usable, 0.2) | ~part_mask(usable, 1, 1)
    number = int((~kept).sum())
    check(of_file(loaded, path, training={"examples": number}))
    with pytest.raises(ConfigError, match=rf"is {number + 1}; there are {number} to learn from"):
        check(of_file(loaded, path, training={"examples": number + 1}))
    with pytest.raises(ConfigError, match="0 labelled 7; a tagger needs both"):
        check(of_file(loaded, path, signal=7))
    with pytest.raises(ConfigError, match="in its ranges; a tagger needs both"):
        check(of_file(loaded, path, pt_range=[1e6, 2e6]))
    monkeypatch.setattr(reachable, "MOST_ENTRIES", 1)
    check(of_file(loaded, path, signal=7))  # too many events to look at


def test_a_layout_without_labels(loaded: Load, jet_file: Write, tmp_path: Path) -> None:
    path = jet_file(tmp_path / "jets.root")
    with pytest.raises(ConfigError, match=r"models\.m\.datasets: layout 'nanoaod' has no labels"):
        check(of_file(loaded, path, layout="nanoaod"))


def test_features_of_something_else(loaded: Load) -> None:
    with pytest.raises(ConfigError, match=r"models\.m\.inputs: the features are of a cluster"):
        check(of_jets(loaded, "qcd", "wprime", inputs={"features": ["cluster.energy"]}))


def test_a_gpu_that_is_not_there(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"models\.m\.training\.device: device 'cuda': this proc"):
        check(of_clusters(loaded, 1000, device="cuda"))
    check(of_clusters(loaded, 1000, device="auto"))


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ({"options": {"unbiased": 3}}, "options.unbiased: 3 where bool is needed"),
        ({"options": {"tail": "x"}}, "options.tail: 'x' where float is needed"),
        ({"name": "moment_decomposition", "options": {"order": 9}}, "order"),
        ({"name": "moment_decomposition", "options": {"bins": 10**12}}, "needed: at most"),
        ({"name": "binned_divergence", "options": {"bounds": [3, 1]}}, "bounds"),
        ({"name": "adversary", "options": {"components": -1}}, "components"),
        ({"nuisance": ["mass", "mass"]}, "nuisance"),
        ({"nuisance": []}, "nuisance"),
    ],
)
def test_options_of_a_penalty(loaded: Load, penalty: dict[str, Any], expected: str) -> None:
    given = {"name": "distance_correlation", "nuisance": "mass", "strength": 1.0}
    check(of_jets(loaded, "qcd", "wprime", penalty=given))
    with pytest.raises(ConfigError, match=expected):
        check(of_jets(loaded, "qcd", "wprime", penalty={**given, **penalty}))
