from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from benchmarks import constituents_gpu
from benchmarks.constituents import __main__ as command
from benchmarks.constituents import measure, paths, roofline, sample, scaling, workers
from benchmarks.constituents.report import Row
from hepcalib import bundles, ntuples

if TYPE_CHECKING:
    import awkward as ak
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]


class Shifted(paths.Packed):
    """A path whose features are wrong by a thousandth, as little as nobody would see by eye."""

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        jets["phi"] = jets.phi + np.float32(1e-3)
        return super().scores(jets)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The ntuple and the network of a quick run."""
    jets = sample.columns(sample.multiplicities(measure.QUICK.jets))
    sample.write(tmp_path / "jets.root", jets)
    sample.save_bundle(tmp_path / "bundle", sample.pfn(), jets, sample.FEATURES)
    sample.save_script(tmp_path / "network.pt", bundles.load(tmp_path / "bundle"))
    return tmp_path


def test_the_command_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    command.main(["--quick", "--without", "scaling", "--without", "gpu", "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    sections = {row["section"] for row in found["rows"]}
    assert {"end to end", "agreement", "inference", "graph network"} < sections
    fast = {row["what"] for row in found["rows"] if row["section"] == "end to end"}
    assert set(paths.PATHS) < fast
    agreeing = {r["what"]: r["holds"] for r in found["rows"] if r["of"].endswith("tolerance")}
    assert agreeing == dict.fromkeys(paths.PATHS, True)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("torch_wrapper", "ParticleNet-Lite", "reading"))


def test_paths_that_disagree_are_seen(folder: Path) -> None:
    both = {"right": paths.Packed, "wrong": Shifted}
    scores = {
        name: measure.path_task(path(folder), [folder / "jets.root"], 10)()
        for name, path in both.items()
    }
    found = measure.agreement(folder, folder / "jets.root", measure.QUICK, scores)
    assert found["right"] < 1.0 < found["wrong"]


def test_the_ntuple_holds_the_jets(folder: Path) -> None:
    counts = sample.multiplicities(measure.QUICK.jets)
    jets = sample.columns(counts)
    read = ntuples.read(folder / "jets.root", sample.LAYOUT, columns=sample.NEEDED)
    assert counts.max() == sample.LARGEST
    for name in ("pt", "label"):
        np.testing.assert_array_equal(np.concatenate(read[name].to_list()), jets[name].to_numpy())
    values, number = paths.flat(read)
    expected, same = paths.flat(jets[np.newaxis])
    np.testing.assert_array_equal(number, counts)
    np.testing.assert_array_equal(same, counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    for column, other in zip(values.T, expected.T, strict=True):  # in another order in each jet
        np.testing.assert_array_equal(
            column[np.lexsort((column, rows))], other[np.lexsort((other, rows))]
        )


def test_flops_are_those_of_the_layers() -> None:
    found = roofline.work(sample.pfn(), jets=10, items=450)
    phi, f = 3 * 100 + 100 * 100 + 100 * 256, 256 * 100 + 2 * 100 * 100 + 100
    assert found.total == 2 * (450 * phi + 10 * f)
    rates = dict.fromkeys(found.flops, 1e9) | {roofline.LARGE[0]: 2e9}
    assert found.seconds(rates) == pytest.approx(found.total / 1e9)
    assert found.least_seconds(rates) == pytest.approx(found.total / 2e9)


def test_a_bound_is_kept_or_not() -> None:
    row = Row("section", "what", ratio=8.0, bound=8.0, sense=">=")
    assert row.holds is True
    assert row._replace(ratio=7.9).holds is False
    assert row._replace(ratio=None, megabytes=9.0, sense="<=").holds is False
    assert row._replace(bound=None).holds is None


def test_a_process_of_its_own() -> None:
    worker = workers.Worker(functools.partial, iter([4.0, "four"]).__next__)
    assert worker().result == 4.0
    found = worker()
    assert found.result == "four"
    assert found.peak > 0.0
    with pytest.raises(RuntimeError, match="StopIteration"):
        worker()


class Closing:
    """A task that leaves a file when it is closed."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self) -> float:
        return 4.0

    def close(self) -> None:
        self.file.touch()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_task_is_closed_at_the_end(tmp_path: Path, fresh: bool) -> None:
    worker = workers.Worker(Closing, tmp_path / "closed", fresh=fresh)
    assert worker().result == 4.0
    assert not (tmp_path / "closed").exists()
    worker.close()
    assert (tmp_path / "closed").exists()


@pytest.mark.timeout(120)
def test_worker_processes_end_with_what_measures_them(folder: Path) -> None:
    worker = workers.Worker(scaling.WorkerTask, folder, [folder / "jets.root"], 10, 40)
    assert set(worker().result) == {str(number) for number in scaling.WORKERS}
    worker.close()


@pytest.mark.parametrize("network", constituents_gpu.NEEDED)
def test_the_part_for_a_gpu_runs_anywhere(network: str, tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    sizes = ["--jets", "9", "--block", "4", "--rounds", "1", "--json", str(file)]
    exact, half = constituents_gpu.main(["--device", "cpu", "--network", network, *sizes])
    assert (exact.precision, half.precision) == ("float32", "bfloat16")
    assert exact.difference == 0.0 < half.difference
    assert exact.share_of_flops > 0.0
    assert [row["network"] for row in json.loads(file.read_text())] == [network, network]


def test_buffers_in_turn_change_nothing() -> None:
    model = constituents_gpu.network("PFN", torch.device("cpu"))
    jets = constituents_gpu.sample(21, 3)
    with torch.inference_mode():
        one, many = (
            constituents_gpu.host_to_host(
                model.outputs, jets, block=block, device=torch.device("cpu")
            )
            for block in (64, 4)
        )
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert constituents_gpu.main([]) == []
    assert capsys.readouterr().out == "GPU: none is present\n"


def test_the_part_for_a_gpu_needs_torch_and_numpy_alone() -> None:
    code = (
        "import sys, benchmarks.constituents_gpu;"
        "print([m for m in ('awkward', 'coffea', 'hist', 'rich', 'scipy', 'uproot') "
        "if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


@pytest.mark.validation
def test_scaling(tmp_path: Path) -> None:
    rows, _ = measure.everything(tmp_path, measure.QUICK, ("scaling",))
    assert all(row.jets_per_second for row in rows)
    assert len({row.section for row in rows}) == 5
