from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.config import JetSample, TopoClusterSample
from hepcalib.pipeline.samples import (
    declared,
    ensure_sample,
    missing_samples,
    sample_digest,
    sample_path,
)
from hepcalib.samples import topoclusters

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.config import Config, Loaded

CLUSTERS = TopoClusterSample(kind="topoclusters", clusters=40, seed=3)
JETS = JetSample(kind="jets", process="qcd", events=10, seed=3)


@pytest.fixture
def config(loaded: Callable[..., Loaded]) -> Config:
    return loaded(samples={"clusters": CLUSTERS.model_dump()}).config


@pytest.mark.parametrize(
    ("sample", "change"),
    [
        (CLUSTERS, {"seed": 4}),
        (CLUSTERS, {"clusters": 41}),
        (JETS, {"seed": 4}),
        (JETS, {"process": "top"}),
        (JETS, {"pile_up": {"mean": 41.0, "width": 12.0}}),
    ],
)
def test_digest_depends_on_what_determines_the_sample(sample: Any, change: dict[str, Any]) -> None:
    again = type(sample).model_validate(sample.model_dump())
    assert sample_digest(again) == sample_digest(sample)
    changed = type(sample).model_validate({**sample.model_dump(), **change})
    assert sample_digest(changed) != sample_digest(sample)


def test_a_sample_is_what_the_simulation_returns(config: Config) -> None:
    path = ensure_sample(config, "clusters")
    assert path == sample_path(config, "clusters")
    expected = topoclusters.simulate(40, seed=3)["clusterE"]
    assert np.array_equal(ntuples.read(path, "cluster_tree").energy, expected)


def test_a_sample_is_made_once(config: Config) -> None:
    assert missing_samples(config) == ["clusters"]
    path = ensure_sample(config, "clusters")
    assert missing_samples(config) == []
    time = path.stat().st_mtime_ns
    assert ensure_sample(config, "clusters").stat().st_mtime_ns == time


def test_a_file_without_its_note_is_made_again(config: Config) -> None:
    path = ensure_sample(config, "clusters")
    path.with_suffix(".json").unlink()  # as if interrupted before it was written
    assert missing_samples(config) == ["clusters"]
    assert declared(path) == ({}, {}, {})
    assert ensure_sample(config, "clusters") == path
    assert missing_samples(config) == []


def test_the_note_declares_the_file(config: Config) -> None:
    path = ensure_sample(config, "clusters")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = ({path.name: sha256}, {path.name: 40}, {path.name: 40.0})
    assert declared(path) == expected
    note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (note["sample"], note["digest"]) == ("clusters", sample_digest(CLUSTERS))


@pytest.mark.parametrize(
    "note", [b"", b"\xff", b"[1]", b'{"sample": 1}', b"[" * 1000, b'{"sum_of_weights": NaN}']
)
def test_a_sample_whose_note_is_damaged_is_not_there(config: Config, note: bytes) -> None:
    path = ensure_sample(config, "clusters")
    assert declared(path) != ({}, {}, {})
    path.with_suffix(".json").write_bytes(note)
    assert declared(path) == ({}, {}, {})
    path.with_suffix(".json").unlink()
    path.with_suffix(".json").symlink_to("/dev/zero")
    assert declared(path) == ({}, {}, {})
