from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from hepcalib.exceptions import NtupleError
from hepcalib.pipeline.datasets import refuse_bad_files, scan_datasets
from hepcalib.pipeline.samples import ensure_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]


@pytest.fixture
def tagging(loaded: Load, bundle: Write, tmp_path: Path) -> Load:
    """Load a tagging of the files `*.root`, by a bundle and by a model that is not trained yet."""
    path = str(bundle(tmp_path / "tagger", model="tagger"))
    model = {
        "kind": "tagger",
        "object": "jet",
        "datasets": ["given"],
        "inputs": {"features": ["jet.width"]},
        "network": {"name": "MLP", "head": {"name": "BernoulliHead"}},
    }

    def load(options: dict[str, Any] | None = None, **dataset: Any) -> Loaded:
        files = [str(tmp_path / "*.root")]
        analysis = {
            "processor": "processors:JetTagging",
            "datasets": ["given"],
            "models": {"plain": "plain", "decorrelated": "other"},
            "options": options or {},
        }
        return loaded(
            datasets={"given": {"files": files, "layout": "flat_jets", **dataset}},
            models={"plain": {"bundle": path}, "other": model},
            analyses={"tagging": analysis},
        )

    return load


@pytest.mark.parametrize(
    ("branch", "options"),
    [
        ("Jet_msoftdrop", {}),  # of the processor
        ("Jet_mtrimmed", {"mass": "trimmed_mass"}),  # of its options
        ("PFCand_pt", {}),  # of the bundle
        ("PFCand_phi", {}),  # of the model to train
    ],
)
def test_branches_of_processor_options_and_models_are_needed(
    tagging: Load, jet_file: Write, tmp_path: Path, branch: str, options: dict[str, Any]
) -> None:
    jet_file(tmp_path / "jets.root", **{branch: None})
    (dataset,) = scan_datasets(tagging(options), names=["given"], checksum=False)
    (file,) = dataset.unreadable
    assert f"jets.root: tree 'Events' is missing branch '{branch}'" in file.reason


def test_branches_that_nothing_needs_may_be_missing(
    tagging: Load, jet_file: Write, tmp_path: Path
) -> None:
    jet_file(tmp_path / "jets.root", Jet_mtrimmed=None, Jet_label=None)
    (dataset,) = scan_datasets(tagging(), names=["given"], checksum=False)
    assert dataset.unreadable == ()
    assert [file.entries for file in dataset.files] == [32]


@pytest.fixture
def decorrelated(loaded: Load, bundle: Write, jet_file: Write, tmp_path: Path) -> Load:
    """Load a decorrelator and its use on files that lack some branches; `changes` are its own."""
    path = str(bundle(tmp_path / "tagger", model="tagger"))
    start = {"score": "tagger", "method": "fixed_efficiency", "datasets": ["fit"]}
    use = {
        "processor": "processors:JetTagging",
        "datasets": ["use"],
        "models": {"plain": "tagger", "decorrelated": "mine"},
        "options": {"weights": "none"},
    }

    def load(missing: dict[str, str], **changes: Any) -> Loaded:
        files = {}
        for name in ("fit", "use"):
            lacks = {missing[name]: None} if name in missing else {}
            written = jet_file(tmp_path / f"{name}.root", **lacks)
            files[name] = {"files": [str(written)], "layout": "flat_jets"}
        wanted = {**start, "variables": ["softdrop_mass"], **changes}
        return loaded(
            datasets=files,
            models={"tagger": {"bundle": path}},
            decorrelators={"mine": wanted},
            analyses={"tagging": use},
        )

    return load


@pytest.mark.parametrize(
    ("dataset", "branch", "changes"),
    [
        ("use", "Jet_mtrimmed", {"variables": ["trimmed_mass"]}),
        ("use", "Jet_mtrimmed", {"score": "trimmed_mass"}),
        ("fit", "Jet_mtrimmed", {"variables": ["trimmed_mass"]}),
        ("fit", "Jet_mtrimmed", {"score": "trimmed_mass"}),
        ("fit", "Jet_msoftdrop", {"variables": ["trimmed_mass"], "mass_range": [50, 200]}),
        ("fit", "PFCand_pt", {}),
    ],
)
def test_branches_of_decorrelators_are_needed(
    decorrelated: Load, dataset: str, branch: str, changes: dict[str, Any]
) -> None:
    found = scan_datasets(
        decorrelated({dataset: branch}, **changes), names=["fit", "use"], checksum=False
    )
    with pytest.raises(NtupleError) as caught:
        refuse_bad_files(found)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"dataset '{dataset}': ")
    assert f"is missing branch '{branch}'" in line


@pytest.mark.parametrize("dataset", ["use", "fit"])
def test_what_a_decorrelator_lacks_is_told_before_anything_starts(
    decorrelated: Load, hepcalib: Callable[..., Result], tmp_path: Path, dataset: str
) -> None:
    decorrelated({dataset: "Jet_mtrimmed"}, variables=["trimmed_mass"])
    result = hepcalib("run", tmp_path / "test.yaml", "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 2
    file = tmp_path / f"{dataset}.root"
    expected = f"dataset '{dataset}': {file}: tree 'Events' is missing branch 'Jet_mtrimmed'"
    assert expected in result.stderr


def test_what_no_decorrelator_reads_may_be_missing(decorrelated: Load) -> None:
    missing = {"fit": "Jet_mtrimmed", "use": "Jet_label"}
    found = scan_datasets(decorrelated(missing), names=["fit", "use"], checksum=False)
    assert [dataset.unreadable for dataset in found] == [(), ()]


def test_checksums_are_compared_when_asked_for(
    tagging: Load, jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(tmp_path / "jets.root")
    other = tagging(sha256={"jets.root": "0" * 64})
    (quick,) = scan_datasets(other, names=["given"], checksum=False)
    assert (quick.unreadable, quick.files[0].sha256) == ((), None)
    (thorough,) = scan_datasets(other, names=["given"], checksum=True)
    assert "expected 0000" in thorough.unreadable[0].reason
    (good,) = scan_datasets(tagging(), names=["given"], checksum=True)
    assert good.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_changed_sample_is_seen(loaded: Load) -> None:
    samples = {"made": {"kind": "topoclusters", "clusters": 30, "seed": 1}}
    config = loaded(samples=samples, datasets={"made": {"sample": "made"}})
    path = ensure_sample(config.config, "made")
    (dataset,) = scan_datasets(config, names=["made"], checksum=True)
    assert dataset.unreadable == ()
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    (dataset,) = scan_datasets(config, names=["made"], checksum=True)
    assert "the file is damaged or another one" in dataset.unreadable[0].reason


def test_bad_files_are_refused_unless_tolerated(
    tagging: Load, jet_file: Write, tmp_path: Path
) -> None:
    jet_file(tmp_path / "a.root")
    for name in ("b.root", "c.root"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(NtupleError) as caught:
        refuse_bad_files(scan_datasets(tagging(), names=["given"], checksum=False))
    lines = str(caught.value).split("; ")
    assert [line.split(": ")[:2] for line in lines] == [
        ["dataset 'given'", str(tmp_path / "b.root")],
        ["dataset 'given'", str(tmp_path / "c.root")],
    ]
    tolerated = tagging(tolerate_bad_files=True)
    refuse_bad_files(scan_datasets(tolerated, names=["given"], checksum=False))


def test_many_bad_files_are_counted(tagging: Load, tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.root").write_bytes(b"")
    with pytest.raises(NtupleError, match=r"3\.root: [^;]*; and 5 other files$"):
        refuse_bad_files(scan_datasets(tagging(), names=["given"], checksum=False))
