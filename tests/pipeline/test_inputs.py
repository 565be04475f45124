from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import NtupleError
from hepcalib.pipeline.inputs import dataset_files, dataset_layout

if TYPE_CHECKING:
    from collections.abc import Callable

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
    assert found == [tmp_path / name for name in ("c.txt", "a.root", "b.root")]


def test_a_file_that_is_named_need_not_exist(given: Load, tmp_path: Path) -> None:
    assert dataset_files(given("none.root"), "given") == [tmp_path / "none.root"]


def test_a_pattern_without_match_is_refused(given: Load, tmp_path: Path) -> None:
    with pytest.raises(NtupleError, match=r"dataset 'given': no file matches .*/n\*\.root"):
        dataset_files(given("a.root", "n*.root"), "given")
    assert tmp_path.is_dir()


def test_a_file_named_twice_is_refused(given: Load) -> None:
    with pytest.raises(NtupleError, match=r"counted twice: \S*a\.root; name each file once"):
        dataset_files(given("*.root", "a.root"), "given")


def test_the_same_file_by_two_names_is_refused(given: Load, tmp_path: Path) -> None:
    (tmp_path / "link.root").symlink_to(tmp_path / "a.root")
    with pytest.raises(NtupleError, match=r"counted twice: \S*a\.root, \S*link\.root"):
        dataset_files(given("a.root", "link.root"), "given")


@pytest.mark.parametrize(
    "url",
    [
        "root://eospublic.cern.ch//eos/opendata/x.root",
        "xroot://host:1094//store/a.root?authz=token",
        "https://[::1]:8443/a//b.root?x=1&y=[2]",
        "davs://host/a.root",
        "file:///data/a.root",
        "simplecache::root://host//a.root",
    ],
)
def test_a_url_stays_as_it_is(loaded: Load, url: str) -> None:
    datasets = {"d": {"files": [url], "layout": "pfnano"}}
    assert dataset_files(loaded(datasets=datasets), "d") == [url]


@pytest.mark.parametrize("url", ["root://host//data/*.root", "https://host/**/a.root"])
def test_a_pattern_of_urls_is_refused(loaded: Load, url: str) -> None:
    datasets = {"d": {"files": [url], "layout": "pfnano"}}
    with pytest.raises(NtupleError, match=r"a URL cannot be a pattern; name each file"):
        dataset_files(loaded(datasets=datasets), "d")


def test_a_url_named_twice_is_refused(loaded: Load) -> None:
    url = "root://host//a.root"
    datasets = {"d": {"files": [url, url], "layout": "pfnano"}}
    with pytest.raises(NtupleError, match=r"counted twice: root://host//a\.root; name"):
        dataset_files(loaded(datasets=datasets), "d")


def test_layouts(given: Load, loaded: Load) -> None:
    assert dataset_layout(given("a.root").config, "given") == "pfnano"
    datasets = {name: {"sample": name} for name in SAMPLES}
    config = loaded(samples=SAMPLES, datasets=datasets).config
    assert dataset_layout(config, "clusters") == "cluster_tree"
    assert dataset_layout(config, "jets") == "flat_jets"


def test_the_file_of_a_sample_is_in_the_workspace(loaded: Load, tmp_path: Path) -> None:
    config = loaded(samples=SAMPLES, datasets={"made": {"sample": "clusters"}})
    (file,) = dataset_files(config, "made")
    assert isinstance(file, Path)
    assert file.parent == tmp_path / "workspace" / "samples"
    assert file.name.startswith("clusters-")
