from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import NtupleError
from hepcalib.pipeline.inputs import dataset_files, dataset_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]

SAMPLES = {
    "clusters": {"kind": "topoclusters", "clusters": 5, "seed": 1},
    "jets": {"kind": "jets", "process": "top", "events": 5, "seed": 1},
}


@pytest.fixture
def given(loaded: Load, tmp_path: Path) -> Load:
    """Load a dataset of files, named from this folder on."""
    for name in ("b.root", "a.root", "c.txt"):
        (tmp_path / name).touch()

    def load(*files: str) -> Loaded:
        paths = [str(tmp_path / file) for file in files]
        return loaded(datasets={"given": {"files": paths, "layout": "pfnano"}})

    return load


def test_patterns_are_expanded_in_sorted_order(given: Load, tmp_path: Path) -> None:
    found = dataset_files(given("c.txt", "*.root"), "given")
    assert [file.relative_to(tmp_path).name for file in found] == ["c.txt", "a.root", "b.root"]


def test_a_file_that_is_named_need_not_exist(given: Load, tmp_path: Path) -> None:
    assert dataset_files(given("none.root"), "given") == [tmp_path / "none.root"]


def test_a_pattern_without_match_is_refused(given: Load, tmp_path: Path) -> None:
    with pytest.raises(NtupleError, match=r"dataset 'given': no file matches .*/n\*\.root"):
        dataset_files(given("a.root", "n*.root"), "given")
    assert tmp_path.is_dir()


def test_a_file_named_twice_is_refused(given: Load) -> None:
    with pytest.raises(NtupleError, match=r"counted twice: \S*a\.root; name each file once"):
        dataset_files(given("*.root", "a.root"), "given")


def test_layouts(given: Load, loaded: Load) -> None:
    assert dataset_layout(given("a.root").config, "given") == "pfnano"
    datasets = {name: {"sample": name} for name in SAMPLES}
    config = loaded(samples=SAMPLES, datasets=datasets).config
    assert dataset_layout(config, "clusters") == "cluster_tree"
    assert dataset_layout(config, "jets") == "flat_jets"


def test_the_file_of_a_sample_is_in_the_workspace(loaded: Load, tmp_path: Path) -> None:
    config = loaded(samples=SAMPLES, datasets={"made": {"sample": "clusters"}})
    (file,) = dataset_files(config, "made")
    assert file.parent == tmp_path / "workspace" / "samples"
    assert file.name.startswith("clusters-")
