from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hepcalib import ntuples, samples
from hepcalib.config import Loaded, load
from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.checksums import record_checksums, record_path, with_recorded
from hepcalib.pipeline.datasets import scan_datasets

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
version: 1
name: small
datasets:
  clusters: {files: ["FOLDER/*/*.root"], layout: cluster_tree}
analyses: {}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for number, name in enumerate(("one/a.root", "one/b.root", "two/a.root")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        sample = samples.topoclusters.simulate(20, seed=number)
        ntuples.write(path, "ClusterTree", sample)
    written = tmp_path / "small.yaml"
    written.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return written


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def scanned(config: Path) -> Any:
    (dataset,) = scan_datasets(
        with_recorded(load(config), config), names=["clusters"], checksum=True
    )
    return dataset


@pytest.fixture
def loaded(config: Path) -> Loaded:
    return load(config)


def test_what_is_recorded_is_checked_from_then_on(config: Path, loaded: Loaded) -> None:
    assert [file.checked for file in scanned(config).files] == [False] * 3
    said = record_checksums(loaded, config)
    assert said == f"{config.with_suffix('.checksums.json')}: sha256 of 3 files written"
    found = scanned(config)
    assert [file.checked for file in found.files] == [True] * 3
    assert not found.unreadable
    flip(config.parent / "two" / "a.root")
    found = scanned(config)
    (bad,) = found.unreadable
    assert bad.path.endswith("two/a.root")
    assert "sha256 is " in bad.reason
    assert "the file is damaged or another one" in bad.reason
    said = record_checksums(loaded, config)
    assert said.endswith("not what they were: clusters: " + bad.path)
    assert not scanned(config).unreadable


def test_a_new_file_is_not_checked_and_a_lost_one_is_missed(config: Path, loaded: Loaded) -> None:
    record_checksums(loaded, config)
    new = samples.topoclusters.simulate(20, seed=9)
    ntuples.write(config.parent / "one" / "new.root", "ClusterTree", new)
    assert [file.checked for file in scanned(config).files] == [True, True, False, True]
    (config.parent / "one" / "b.root").unlink()
    with pytest.raises(ConfigError, match=r"sha256 is declared for b.root: no such file"):
        scanned(config)


def test_what_the_configuration_declares_comes_first(config: Path, loaded: Loaded) -> None:
    record_checksums(loaded, config)
    text = config.read_text().replace("layout:", f"sha256: {{b.root: {'f' * 64}}}, layout:")
    config.write_text(text)
    (bad,) = scanned(config).unreadable
    assert f"expected {'f' * 64}" in bad.reason


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"version": 2, "sha256": {}}', "version: Input should be 1"),
        ('{"version": 1, "sha256": {"a": {"b": "c"}}}', "sha256.a.b: String should match"),
        ('{"version": 1, "sha256": {}, "more": 1}', "more: Extra inputs"),
    ],
)
def test_a_damaged_record_is_refused_and_can_be_replaced(
    config: Path, loaded: Loaded, content: str, complaint: str
) -> None:
    record_path(config).write_text(content)
    with pytest.raises(ConfigError, match=r"small.checksums.json: is no record") as error:
        with_recorded(loaded, config)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    record_checksums(loaded, config)
    assert json.loads(record_path(config).read_text())["version"] == 1
    assert [file.checked for file in scanned(config).files] == [True] * 3
