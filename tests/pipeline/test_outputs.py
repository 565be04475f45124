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
from hepcalib.pipeline.outputs import claim, read_histograms, write_json, write_run
from hepcalib.run import Account, Counts, Ledger, scan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

LEDGER = Ledger(
    {"given": Account(Counts(3, 3, 0, 0), Counts(1, 1, 0, 0), Counts(3.0, 3.0, 0.0, 0.0), ())}
)


def filled() -> Any:
    return hist.Hist.new.Reg(4, 0, 4, name="x").Weight().fill(x=[0.5, 1.5, 9.0], weight=[1, -2, 3])


@pytest.fixture
def config(loaded: Callable[..., Loaded]) -> Loaded:
    return loaded(datasets={"given": {"files": ["a.root"], "layout": "cluster_tree"}})


def test_a_run_is_written_and_read_back(
    config: Loaded, cluster_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root")
    claim(tmp_path / "deep" / "out", config.config)
    write_run(
        tmp_path / "deep" / "out",
        config.config,
        histograms={"study/x": filled()},
        ledger=LEDGER,
        datasets=[scan_dataset("given", [path], "cluster_tree", checksum=True)],
        handles={"m": Handle(path="there", sha256="1" * 64)},
    )
    out = tmp_path / "deep" / "out"
    assert read_histograms(out)["study/x"] == filled()
    with uproot.open(out / "histograms.root") as file:
        assert file["study/x"].values().tolist() == [1.0, -2.0, 0.0, 0.0]
    assert json.loads((out / "ledger.json").read_text()) == LEDGER.to_json()
    assert load(out / "config.yaml").config == config.config
    provenance = json.loads((out / "provenance.json").read_text())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = [{"file": str(path), "sha256": sha256, "entries": 60}]
    assert provenance["inputs"] == {"given": expected}
    assert provenance["bundles"] == {"m": "1" * 64}
    text = (out / "config.yaml").read_bytes()
    assert provenance["config_sha256"] == hashlib.sha256(text).hexdigest()
    assert provenance["versions"]["uproot"] == uproot.__version__


def test_histograms_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"histograms\.json: no such file; run `hepcalib process`"):
        read_histograms(tmp_path)


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})


def test_figures_of_others_are_left_alone(config: Loaded, tmp_path: Path) -> None:
    mine = tmp_path / "figures" / "mine.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(RunError, match="choose another --out"):
        claim(tmp_path, config.config)
    assert mine.read_bytes() == b"mine"


def test_an_earlier_run_is_replaced(config: Loaded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim(out, config.config)
    (out / "columns").mkdir()
    claim(out, config.config)
    assert [path.name for path in out.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"x/e": ', b'{"x": {}}'])
def test_damaged_histograms_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "histograms.json").write_bytes(content)
    with pytest.raises(RunError, match=r"histograms\.json: .*`hepcalib process`"):
        read_histograms(tmp_path)
