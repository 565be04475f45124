from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import hist
import pytest
import uproot

from hepcalib.config import load
from hepcalib.exceptions import RunError
from hepcalib.inference import Handle
from hepcalib.pipeline.folder import OutputFolder
from hepcalib.pipeline.outputs import (
    claim,
    read_counters,
    read_histograms,
    write_json,
    write_run,
)
from hepcalib.run import scan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded


def filled() -> Any:
    return hist.Hist.new.Reg(4, 0, 4, name="x").Weight().fill(x=[0.5, 1.5, 9.0], weight=[1, -2, 3])


@pytest.fixture
def config(loaded: Callable[..., Loaded]) -> Loaded:
    return loaded(datasets={"given": {"files": ["a.root"], "layout": "cluster_tree"}})


def test_a_run_is_written_and_read_back(
    config: Loaded, cluster_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root")
    out = tmp_path / "deep" / "out"
    claim(OutputFolder(out), config.config)
    left_out = write_run(
        OutputFolder(out),
        config.config,
        histograms={"study/x": filled()},
        counters={"study": {"events": 3}},
        datasets=[scan_dataset("given", [path], "cluster_tree", checksum=True)],
        handles={"m": Handle(path="there", sha256="1" * 64)},
    )
    assert left_out == []
    assert read_histograms(out)["study/x"] == filled()
    assert read_counters(out) == {"study": {"events": 3}}
    with uproot.open(out / "histograms.root") as file:
        assert file["study/x"].values().tolist() == [1.0, -2.0, 0.0, 0.0]
    assert load(out / "config.yaml").config == config.config
    provenance = json.loads((out / "provenance.json").read_text())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = [{"file": str(path), "sha256": sha256, "entries": 60}]
    assert provenance["inputs"] == {"given": expected}
    assert provenance["bundles"] == {"m": "1" * 64}
    text = (out / "config.yaml").read_bytes()
    assert provenance["config_sha256"] == hashlib.sha256(text).hexdigest()
    assert provenance["versions"]["uproot"] == uproot.__version__


def test_what_root_does_not_hold_is_said(config: Loaded, tmp_path: Path) -> None:
    axes = [hist.axis.Regular(2, 0.0, 1.0, name=name) for name in "abcd"]
    histograms: dict[str, Any] = {
        "a/four": hist.Hist(*axes),
        "a/counts": hist.Hist.new.Reg(2, 0, 2, name="x").Int64().fill([0.5, 0.5]),
        "a/cutflow": hist.Hist.new.StrCat(["all", "e10"], name="cut").Weight().fill(["e10"]),
        "a/mean": hist.Hist.new.Reg(2, 0, 2, name="x").Reg(2, 0, 2, name="y").Mean(),
    }
    left_out = write_run(
        OutputFolder(tmp_path / "out"),
        config.config,
        histograms=histograms,
        counters={},
        datasets=[],
        handles={},
    )
    assert [line.partition(": ")[0] for line in left_out] == [
        "histograms.root is without 'a/four'",
        "histograms.root is without 'a/mean'",
    ]
    assert read_histograms(tmp_path / "out").keys() == histograms.keys()
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert file["a/counts"].values().tolist() == [2.0, 0.0]
        assert file["a/cutflow"].values().tolist() == [0.0, 1.0]
        assert file["a/cutflow"].axis().labels() == ["all", "e10"]


def test_histograms_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"histograms\.json: no such file; run `hepcalib process`"):
        read_histograms(tmp_path)


@pytest.mark.parametrize("text", ["[", "[1]", '{"a": 1}', "[" * 100_000])
def test_damaged_counters(tmp_path: Path, text: str) -> None:
    (tmp_path / "counters.json").write_text(text)
    with pytest.raises(RunError, match=r"counters\.json: "):
        read_counters(tmp_path)
    (tmp_path / "counters.json").unlink()
    assert read_counters(tmp_path) == {}


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(OutputFolder(tmp_path), "a.json", {"x": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(OutputFolder(tmp_path), "b.json", {"x": float("nan")})


@pytest.mark.parametrize("name", ["config.yaml", "histograms.root", "figures"])
def test_files_of_others_are_not_replaced(config: Loaded, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(RunError, match="will not be replaced"):
        claim(OutputFolder(tmp_path), config.config)
    assert (tmp_path / name).read_bytes() == b"mine"


def test_an_earlier_run_is_replaced(config: Loaded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim(OutputFolder(out), config.config)
    for name in ("ledger.json", "columns/a_b.root", "figures/a_x.png"):
        OutputFolder(out).write(name, "old")
    claim(OutputFolder(out), config.config)
    assert sorted(path.name for path in out.iterdir()) == ["config.yaml", "hepcalib-outputs.json"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"x/e": ', b'{"x": {}}'])
def test_damaged_histograms_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "histograms.json").write_bytes(content)
    with pytest.raises(RunError, match=r"histograms\.json: .*`hepcalib process`"):
        read_histograms(tmp_path)
