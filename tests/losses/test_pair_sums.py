from __future__ import annotations

import pytest
import torch

from hepcalib.losses import pair_sums as module
from hepcalib.losses.pair_sums import pair_sums


@pytest.mark.parametrize("variables", [1, 2, 3])
@pytest.mark.parametrize("has_ties", [False, True])
def test_sums_equal_the_loop_over_pairs(
    variables: int, has_ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAIRS", 500)  # several blocks, the last one shorter
    generator = torch.Generator().manual_seed(variables)
    x, weight, terms = torch.rand(3, 90, generator=generator, dtype=torch.float64)
    y = torch.rand(90, variables, generator=generator, dtype=torch.float64) + x[:, None]
    if has_ties:
        x, y = (4 * x).floor(), (3 * y).floor()
    in_x, in_y = x[:, None] - x, y[:, None] - y
    a, b = in_x.abs(), in_y.square().sum(-1).sqrt()
    unit = torch.where(b[..., None] > 0, in_y / b[..., None], torch.zeros_like(in_y))
    removed = terms[:, None] + terms

    sums = pair_sums(x, y, weight, y_pull=True)
    found = (
        sums.x_distance,
        sums.y_distance,
        sums.product,
        sums.x_pull(terms),
        sums.y_pull(terms),
    )
    expected = (
        a @ weight,
        b @ weight,
        weight @ (a * b) @ weight,
        ((b - removed) * in_x.sign()) @ weight,
        torch.einsum("kj,kji,j->ki", a - removed, unit, weight),
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)
