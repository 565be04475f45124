"""Settings of the process inside and after a block that has its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from hepcalib.settings import own_settings, seeded

if TYPE_CHECKING:
    from collections.abc import Callable


def drawn() -> Any:
    return torch.randn(4, generator=torch.Generator().manual_seed(1)).tolist()


def product() -> Any:
    return (torch.full((2, 2), 1 / 3) @ torch.full((2, 2), 1 / 3)).tolist()


def place() -> Any:
    return torch.zeros(1).device


def division() -> Any:
    return np.geterr()


CASES: list[tuple[Callable[[ExitStack], Any], Callable[[], Any]]] = [
    (lambda _: torch.set_default_dtype(torch.float64), drawn),
    (lambda on: on.enter_context(torch.device("meta")), place),
    (lambda on: on.enter_context(torch.autocast("cpu", dtype=torch.bfloat16)), product),
    (lambda on: on.enter_context(np.errstate(divide="raise")), division),
    (lambda _: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
]


@pytest.mark.parametrize(("change", "give"), CASES)
def test_results_are_those_of_a_new_process(
    change: Callable[[ExitStack], Any], give: Callable[[], Any]
) -> None:
    new = give()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        change(stack)
        changed = give()
        assert changed != new  # the control: it matters
        if give is torch.get_float32_matmul_precision:
            with own_settings():
                assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]  # torch has no types for it
        else:
            assert own_settings()(give)() == new
        with pytest.raises(KeyError), own_settings():
            raise KeyError
        assert give() == changed


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_where_they_are_needed(mode: Callable[[], Any]) -> None:
    with mode():
        with own_settings():
            assert not torch.ones(1, requires_grad=False).add(1).requires_grad
        with own_settings(gradients=True):
            x = torch.ones(1, requires_grad=True)
            assert (2 * x).requires_grad
        assert not torch.is_grad_enabled() or torch.is_inference_mode_enabled()


def test_random_numbers_begin_at_the_seed_and_go_on_afterwards() -> None:
    torch.manual_seed(4)
    first, *others = (torch.rand(1).item() for _ in range(3))
    torch.manual_seed(4)
    assert torch.rand(1).item() == first
    with seeded(4):
        assert torch.rand(1).item() == first
    with seeded():
        assert torch.rand(1).item() == others[0]
    assert [torch.rand(1).item() for _ in range(2)] == others
