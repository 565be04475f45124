from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from hepcalib.exceptions import ConfigError
from hepcalib.models.attention import QueryAttention, SelfAttention, attend, key_masks
from hepcalib.models.layouts import layouts
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

WIDTH, HEADS = 12, 3
COUNTS = (4, 1, 7, 2, 3)
OFFSETS = torch.tensor([0, *COUNTS]).cumsum(0)


def randomised(module: nn.Module) -> nn.Module:
    """The module in double precision, with weights of the order of one, gains among them."""
    torch.manual_seed(1)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def values(items: int = int(OFFSETS[-1])) -> Tensor:
    return torch.randn(items, WIDTH, generator=torch.Generator().manual_seed(2)).double()


def weights(module: nn.Module) -> dict[str, NDArray[np.float64]]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    exponential = np.exp(x - x.max())
    result: NDArray[np.float64] = exponential / exponential.sum()
    return result


def naive(
    module: SelfAttention, x: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One jet, one head and one constituent after the other; bias (heads, n, n)."""
    known, size = weights(module), WIDTH // HEADS
    projected = x @ known["project.weight"].T + known["project.bias"]
    q, k, v = np.split(projected, 3, axis=1)
    collected = np.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            logits = [q[i, part] @ k[j, part] / size**0.5 + bias[head, i, j] for j in range(len(x))]
            mixed = softmax(np.array(logits)) @ v[:, part]
            collected[i, part] = mixed * known["scale"][head]
    result: NDArray[np.float64] = collected @ known["out.weight"].T + known["out.bias"]
    return result


def table(places: Tensor) -> Tensor:
    """A bias of each pair of items, (jets, heads, longest, longest)."""
    i, j = places.double()[:, None, :, None], places.double()[:, None, None, :]
    return torch.sin(i + 2 * j + torch.arange(HEADS).double()[:, None, None])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("cells", [1, 50, 1000])
def test_self_attention_is_the_formula(cells: int, biased: bool, grad: bool) -> None:
    module, x = randomised(SelfAttention(WIDTH, HEADS, scaled=True)), values()
    assert isinstance(module, SelfAttention)
    (group,) = layouts(Ragged(x, OFFSETS), cells, together=True)
    bias = key_masks(group)
    if biased:
        bias = [
            torch.where(mask, table(places), -torch.inf)
            for places, mask in zip(group.places, bias, strict=True)
        ]
    with torch.set_grad_enabled(grad):
        found = module(x, group, bias).detach().numpy()
    for start, stop in pairwise(OFFSETS.tolist()):
        own = table(torch.arange(start, stop).unsqueeze(0))[0].numpy() * biased
        expected = naive(module, x[start:stop].numpy(), own)
        np.testing.assert_allclose(found[start:stop], expected, rtol=0, atol=1e-12)


def test_query_attention_is_the_formula() -> None:
    module, x = randomised(QueryAttention(WIDTH, HEADS, scaled=True)), values()
    query = torch.randn(len(COUNTS), WIDTH, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        found, shares = module(query, Ragged(x, OFFSETS))
    known, size = weights(module), WIDTH // HEADS
    for row, (start, stop) in enumerate(pairwise(OFFSETS.tolist())):
        q = known["query.weight"] @ query[row].numpy() + known["query.bias"]
        own = x[start:stop].numpy() @ known["project.weight"].T + known["project.bias"]
        k, v = np.split(own, 2, axis=1)
        collected = np.zeros(WIDTH)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            share = softmax(k[:, part] @ q[part] / size**0.5)
            np.testing.assert_allclose(shares[start:stop, head], share, rtol=0, atol=1e-14)
            collected[part] = known["scale"][head] * (share @ v[:, part])
        expected = known["out.weight"] @ collected + known["out.bias"]
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-12)


def qkv(longest: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    q, k, v = torch.randn(3, 5, HEADS, longest, 4, generator=generator).double()
    return q, k, v


def test_masked_places_change_nothing() -> None:
    q, k, v = qkv()
    mask = (torch.arange(9) < 4).expand(5, 1, 1, 9)
    bias = torch.zeros(5, 1, 1, 9).double().masked_fill(~mask, -torch.inf)
    expected = attend(*(part[:, :, :4] for part in (q, k, v)), bias=mask[..., :4], dropout=0.0)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            for added in (mask, bias):
                found = attend(q, k, v, bias=added, dropout=0.0)[:, :, :4]
                assert (found - expected).abs().max() < 1e-15


def test_what_is_wrong_with_a_jet_stays_there() -> None:
    module = SelfAttention(WIDTH, HEADS).double()
    x = values()
    x[0] = torch.nan  # where an index that is no place might point to
    (group,) = layouts(Ragged(x, OFFSETS), 1000, together=True)
    assert not all(mask.all() for mask in group.mask)
    with torch.no_grad():
        fused = module(x, group, key_masks(group))
    found = module(x, group, key_masks(group))
    found[4:].sum().backward()
    assert fused[4:].isfinite().all()
    assert found[4:].isfinite().all()
    assert fused[:4].isnan().all()


@pytest.mark.parametrize("dims", [(0, 0, 0, 0), (1, 0, None, None), (0, None, 0, 2)])
def test_the_fused_kernel_serves_many_networks(dims: tuple[int | None, ...]) -> None:
    generator = torch.Generator().manual_seed(5)
    networks = 3
    bias = torch.randn(networks, 5, HEADS, 9, 9, generator=generator).double()
    stacked = [torch.stack([part + shift for shift in range(networks)]) for part in qkv()]
    inputs = [
        tensor[0] if dim is None else tensor.movedim(0, dim)
        for tensor, dim in zip((*stacked, bias), dims, strict=True)
    ]

    def one(q: Tensor, k: Tensor, v: Tensor, added: Tensor) -> Tensor:
        return attend(q, k, v, bias=added, dropout=0.0)

    with torch.no_grad():
        fused = vmap(one, in_dims=dims)(*inputs)
    with torch.enable_grad():
        plain = vmap(one, in_dims=dims)(*inputs)
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-13)
    assert (fused[1] - fused[0]).abs().max() > 0.1


def test_networks_side_by_side_are_as_alone() -> None:
    module, x = randomised(SelfAttention(WIDTH, HEADS, scaled=True)), values()
    (group,) = layouts(Ragged(x, OFFSETS), 1000, together=True)
    parameters = {
        name: torch.stack([value.detach(), value.detach() + 0.1])
        for name, value in module.named_parameters()
    }

    def one(values: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(module, values, (x, group, key_masks(group)))
        return found

    with torch.no_grad():
        together = vmap(one)(parameters)
        for network in range(2):
            alone = one({name: value[network] for name, value in parameters.items()})
            torch.testing.assert_close(together[network], alone, rtol=0, atol=1e-12)


def test_dropped_weights_leave_the_mean() -> None:
    """The mean over masks is the full attention; 400 of them have an error of a twentieth."""
    q, k, v = qkv()
    torch.manual_seed(6)
    mask = torch.ones(5, 1, 1, 9, dtype=torch.bool)
    full = attend(q, k, v, bias=mask, dropout=0.0)
    drawn = torch.stack([attend(q, k, v, bias=mask, dropout=0.3) for _ in range(400)])
    pulls = (drawn.mean(0) - full) / (drawn.std(0) / 20)
    assert pulls.square().mean() < 1.5  # 540 numbers that depend on each other by fours
    assert ((drawn.mean(0) / 0.7 - full) / (drawn.std(0) / 20)).square().mean() > 1.5


def test_impossible_attentions_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 10 and 3 heads"):
        SelfAttention(10, 3)
    with pytest.raises(ConfigError, match="width 10 and 0 heads"):
        QueryAttention(10, 0)
    with pytest.raises(ConfigError, match=r"dropout is 1\.0"):
        SelfAttention(10, 2, dropout=1.0)
