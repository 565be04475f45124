from __future__ import annotations

import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.training import devices


def test_names_of_devices() -> None:
    available = torch.cuda.is_available()
    assert devices.resolve_device("cpu").type == "cpu"
    assert devices.resolve_device("auto").type == ("cuda" if available else "cpu")
    with pytest.raises(ConfigError, match="Did you mean 'cuda'"):
        devices.resolve_device("cudaa")


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        devices.resolve_device("cuda")


def test_thread_count_is_restored_even_after_an_error() -> None:
    before = torch.get_num_threads()

    def inside() -> None:
        with devices.thread_count(before + 1):
            assert torch.get_num_threads() == before + 1
            raise InterruptedError

    with pytest.raises(InterruptedError):
        inside()
    assert torch.get_num_threads() == before
    with devices.thread_count(None):
        assert torch.get_num_threads() == before


def test_no_threads_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        devices.set_threads(0)
