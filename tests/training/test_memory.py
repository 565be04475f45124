"""Memory that a training frees stays with the process until the training ends."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys

import pytest

from hepcalib.training.memory import kept_memory

NUMBERS = 2**24  # 64 MiB, beyond the largest block that glibc keeps by itself
PAGES = 4 * NUMBERS // resource.getpagesize()
FEW = PAGES // 600  # less than the huge pages, each of 512, that a system may provide instead

# In a process of its own: in an old one there is free memory from before.
SCRIPT = f"""
import json, pathlib, resource, torch
from hepcalib.training.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({NUMBERS})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

faults()
found = {{"faults": [faults()], "pages": []}}
start = resident()
try:
    with kept_memory() as kept:
        found["faults"].append(min(faults() for _ in range(5)))
        found["pages"].append(resident() - start)
        raise RuntimeError
except RuntimeError:
    found["pages"].append(resident() - start)
found["faults"].append(faults())
print(json.dumps({{**found, "kept": kept}}))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_large_blocks_are_used_again_and_given_back_even_after_a_failure() -> None:
    found = json.loads(
        subprocess.run(
            [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
        ).stdout
    )
    assert found["kept"]
    before, inside, after = found["faults"]
    assert min(before, after) > FEW > inside  # the first two are the control
    kept, left = found["pages"]
    assert kept > 0.9 * PAGES
    assert left < 0.1 * PAGES


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without mallopt."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    with kept_memory() as kept:
        assert not kept
