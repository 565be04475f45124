"""Processes that share a GPU: never more at a time than places, and none waits for ever."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.inference import Sharing

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")

SPAWN = multiprocessing.get_context("spawn")


def visit(sharing: Sharing, present: list[int], number: int) -> int:
    """Take some turns, each of 2 ms; return the most visitors that were there in one."""
    most = 0
    for _ in range(40):
        with sharing.place("gpu"):
            present.append(number)
            time.sleep(0.002)
            most = max(most, len(present))
            present.remove(number)
    return most


def hold(sharing: Sharing, held: Event) -> None:
    with sharing.place("gpu"):
        held.set()
        time.sleep(600)


@pytest.mark.parametrize("users", [1, 2, 4])
def test_visitors_take_turns(tmp_path: Path, users: int) -> None:
    """Four threads, for which the files are locked as for processes; with 4 places all meet."""
    sharing, present = Sharing(users=users, folder=str(tmp_path)), list[int]()
    with ThreadPoolExecutor(4) as pool:
        visits = [pool.submit(visit, sharing, present, number) for number in range(4)]
        most = max(each.result() for each in visits)
    assert most == users


def test_places_are_numbered_and_free_afterwards(tmp_path: Path) -> None:
    sharing = Sharing(users=3, folder=str(tmp_path))
    for _ in range(2):
        with ExitStack() as stack:
            assert [stack.enter_context(sharing.place("gpu")) for _ in range(3)] == [0, 1, 2]
            assert stack.enter_context(sharing.place("another")) == 0
    assert len(list(tmp_path.iterdir())) == 6


def test_a_killed_process_leaves_its_place(tmp_path: Path) -> None:
    sharing, held = Sharing(folder=str(tmp_path)), SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(sharing, held))
    process.start()
    assert held.wait(120)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with sharing.place("gpu") as place:
        assert place == 0


def test_an_error_leaves_the_place(tmp_path: Path) -> None:
    sharing = Sharing(folder=str(tmp_path))
    with pytest.raises(KeyError), sharing.place("gpu"):
        raise KeyError
    with sharing.place("gpu") as place:
        assert place == 0


def test_the_cpu_needs_no_place(tmp_path: Path) -> None:
    with Sharing(folder=str(tmp_path / "none")).turn(torch.device("cpu")):
        assert not (tmp_path / "none").exists()


def test_a_gpu_has_places_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        uuid = "0123-4567"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    with Sharing(folder=str(tmp_path)).turn(torch.device("cuda")):
        assert [file.name for file in tmp_path.iterdir()] == ["0123-4567-0.lock"]


def test_it_is_small_and_can_be_pickled() -> None:
    sharing = Sharing(users=2, folder="/somewhere")
    assert pickle.loads(pickle.dumps(sharing)) == sharing
    assert len(pickle.dumps(sharing)) < 200
    with pytest.raises(ConfigError, match="users is 0"):
        Sharing(users=0)
