"""The memory of a prediction is that of a block, not that of the chunk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

SCRIPT = """
import sys
from pathlib import Path
import awkward as ak, numpy as np, torch
from hepcalib import bundles, inference
from hepcalib.batch import Batch
from hepcalib.features import Inputs
from hepcalib.models import PFN, BernoulliHead
from hepcalib.ragged import Ragged

folder, jets, mean, longest, block = sys.argv[1], *map(int, sys.argv[2:])

def peak():
    lines = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024

random = np.random.default_rng(1)
counts = np.minimum(random.geometric(1 / mean, jets), longest)
counts[jets // 2] = longest
items = int(counts.sum())
constituents = ak.zip({
    "pt": (random.random(items, np.float32) + np.float32(0.1)),
    "eta": random.random(items, np.float32),
    "phi": random.random(items, np.float32),
    "mass": np.zeros(items, np.float32),
})
one = np.ones(jets, np.float32)
own = {"pt": one, "eta": one, "phi": one, "constituents": ak.unflatten(constituents, counts)}
columns = ak.zip(own, depth_limit=1)
keys = ("delta_eta", "delta_phi", "delta_r", "log_pt", "log_energy", "log_pt_fraction")
inputs = Inputs(constituents=[f"constituent.{key}" for key in keys])
inputs.fit(Batch(constituents=Ragged(torch.rand(100, 6), torch.arange(101))))
model = PFN(constituents=6, phi=(8, 8), f=(8,), head=BernoulliHead())
bundle = bundles.save(folder, model, inputs, kind="tagger", object="jet", name="small")
inference.predict(bundle, columns[:100], device="cpu")
before = peak()
inference.predict(bundle, columns, device="cpu", block=block or None)
print(peak() - before)
"""


def growth(folder: Path, *, jets: int, mean: int, longest: int, block: int = 0) -> float:
    """MiB that a prediction adds to the highest memory of its process."""
    numbers = [str(number) for number in (jets, mean, longest, block)]
    command = [sys.executable, "-c", SCRIPT, str(folder / "model"), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not STATUS.is_file(), reason="the system does not tell the memory of a process")
def test_memory_does_not_grow_with_the_chunk(tmp_path: Path) -> None:
    """4.5 million constituents are 72 MiB of columns, and 108 of features if all are computed."""
    usual = growth(tmp_path, jets=100_000, mean=45, longest=2000)
    assert usual < 100
    # the control: all jets in one block
    assert growth(tmp_path, jets=100_000, mean=45, longest=2000, block=10**9) > 300


@pytest.mark.validation
@pytest.mark.parametrize(
    ("jets", "mean", "longest"), [(100_000, 300, 20_000), (300, 100_000, 10**6)]
)
def test_memory_is_bounded_for_any_multiplicity(
    tmp_path: Path, jets: int, mean: int, longest: int
) -> None:
    assert growth(tmp_path, jets=jets, mean=mean, longest=longest) < 1536
