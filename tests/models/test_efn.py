from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import pfn as pfn_module
from hepcalib.models.efn import EFN
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.heads import BernoulliHead, NormalHead
from hepcalib.models.pfn import PFN
from hepcalib.models.stacking import stacked_outputs
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from torch import Tensor

COUNTS = (9, 0, 1, 30, 4, 0, 17)


def jets() -> Ragged:
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor(COUNTS)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    values = 0.4 * torch.randn(int(counts.sum()), 3, generator=generator)
    rows = Ragged(values[:, 0].exp(), offsets)
    values[:, 0] = rows.values / rows.repeat(rows.sum())
    return Ragged(values, offsets)


def network(kind: type[PFN], *, features: int = 0) -> PFN:
    torch.manual_seed(2)
    model = kind(constituents=3, features=features, phi=(32, 32), f=(32,), head=NormalHead())
    with torch.no_grad():
        model.get_parameter("f.2.weight").normal_(std=0.5)  # the last layer starts near zero
    return model.eval()


def rows(of: Ragged) -> list[Tensor]:
    packed = of.packed()
    return list(torch.split(packed.values, packed.counts.tolist()))


def ragged(of: list[Tensor]) -> Ragged:
    offsets = torch.tensor([0, *(len(row) for row in of)]).cumsum(0)
    return Ragged(torch.cat(of), offsets)


def split(jet: Tensor, share: float) -> Tensor:
    """The hardest constituent in two parts of the same direction."""
    if not len(jet):
        return jet
    hardest = int(jet[:, 0].argmax())
    parts = jet[hardest].repeat(2, 1)
    parts[:, 0] *= torch.tensor([share, 1.0 - share])
    return torch.cat([jet[:hardest], jet[hardest + 1 :], parts])


def emitted(jet: Tensor) -> Tensor:
    """With ten constituents more, of no momentum, in other directions."""
    soft = torch.linspace(-1.0, 1.0, 30).view(10, 3)
    soft[:, 0] = 0.0
    return torch.cat([soft[:5], jet, soft[5:]])


def test_number_of_parameters_of_the_published_network() -> None:
    class Two(NormalHead):
        """Two outputs, as for two classes."""

    model = EFN(constituents=3, head=Two())
    assert model.head.outputs == 2
    assert sum(parameter.numel() for parameter in model.parameters()) == 82_358


def test_is_f_of_the_weighted_sum_of_phi() -> None:
    model = network(EFN, features=1)
    features = torch.linspace(-1.0, 1.0, len(COUNTS)).unsqueeze(1)
    outputs = model.outputs(Batch(features, jets()))
    for jet, x, found in zip(rows(jets()), features, outputs, strict=True):
        latent = (jet[:, :1] * model.phi(jet[:, 1:])).sum(0)
        torch.testing.assert_close(found, model.f(torch.cat([latent, x])), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_is_infrared_and_collinear_safe_and_a_pfn_is_not(mode: type) -> None:
    original = jets()
    changed = [ragged([split(jet, share) for jet in rows(original)]) for share in (0.5, 0.03)]
    changed.append(ragged([emitted(jet) for jet in rows(original)]))
    for kind, safe in ((EFN, True), (PFN, False)):
        model = network(kind)
        with mode():
            expected = model.outputs(Batch(constituents=original))
            assert expected.std(0).min() > 0.01  # the jets matter
            for other in changed:
                shift = (model.outputs(Batch(constituents=other)) - expected).abs().max()
                assert (shift < 1e-6) == safe
                assert safe or shift > 1e-2


def test_the_gradient_towards_a_soft_constituent_is_that_of_its_direction() -> None:
    """It is the momentum fraction that has a gradient at z = 0, not the angle."""
    values = torch.tensor([[1.0, 0.1, 0.0], [0.0, 0.3, 0.2]], requires_grad=True)
    outputs = network(EFN).outputs(Batch(constituents=Ragged(values, torch.tensor([0, 2]))))
    (gradient,) = torch.autograd.grad(outputs.sum(), values)
    assert gradient[1, 0].abs() > 1e-4
    assert torch.equal(gradient[1, 1:], torch.zeros(2))
    assert gradient[0].abs().min() > 1e-6


def test_blocks_and_gradients_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(EFN), Batch(constituents=jets())
    expected = model.outputs(batch)
    with torch.no_grad():
        torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-5, atol=1e-6)
    for block in (1, 7):
        monkeypatch.setattr(pfn_module, "BLOCK", block)
        torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_many_networks_at_once_are_those_of_a_loop(mode: type) -> None:
    model, batch = network(EFN, features=1), Batch(torch.ones(len(COUNTS), 1), jets())
    noise = torch.Generator().manual_seed(3)
    stacked = {
        name: torch.stack([value.detach() + 0.1 * torch.randn(value.shape, generator=noise)] * 2)
        for name, value in model.named_parameters()
    }
    stacked["phi.0.weight"][1] += 0.5
    with mode():
        found = stacked_outputs(model, stacked, batch)
        for number in range(2):
            model.load_state_dict({name: value[number] for name, value in stacked.items()})
            torch.testing.assert_close(found[number], model.outputs(batch), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], found[1], rtol=1e-2)


def test_an_ensemble_is_safe_too() -> None:
    ensemble = DeepEnsemble(network(EFN), members=2).eval()
    expected = ensemble.member_outputs(Batch(constituents=jets()))
    soft = ragged([emitted(jet) for jet in rows(jets())])
    found = ensemble.member_outputs(Batch(constituents=soft))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_filters_are_phi_of_a_direction() -> None:
    """A jet of one constituent of all the momentum has the latent values of its direction."""
    model = network(EFN)
    assert isinstance(model, EFN)
    angles = torch.tensor([[0.1, -0.2], [0.3, 0.0]], dtype=torch.float64)
    filters = model.filters(angles)
    assert filters.shape == (2, 32)
    assert not filters.requires_grad
    assert filters.min() >= 0.0
    values = torch.cat([torch.ones(2, 1), angles.float()], dim=1)
    expected = model.outputs(Batch(constituents=Ragged(values, torch.tensor([0, 1, 2]))))
    torch.testing.assert_close(model.f(filters), expected)
    with pytest.raises(ShapeError, match=r"angles of shape \(2, 3\); needed: \(directions, 2\)"):
        model.filters(values)


def test_configuration_is_that_of_the_constructor() -> None:
    model = EFN(features=2, phi=(8,), f=(), head=BernoulliHead(), activation="silu")
    assert model.config == {
        "constituents": 3,
        "features": 2,
        "phi": [8],
        "f": [],
        "head": {"name": "BernoulliHead"},
        "activation": "silu",
    }
    assert len(EFN.leading) == model.constituents


def test_impossible_configurations_are_refused() -> None:
    for constituents in (2, 4):
        with pytest.raises(ConfigError, match=f"constituents is {constituents}; needed: 3"):
            EFN(constituents=constituents, head=NormalHead())
    with pytest.raises(ConfigError, match=r"EFN: phi is \[\]"):
        EFN(phi=(), head=NormalHead())
    with pytest.raises(ConfigError, match=r"EFN f: layer widths are \[256, 0\]"):
        EFN(f=(0,), head=NormalHead())
    with pytest.raises(
        ShapeError, match=r"EFN: constituents of the batch: .*needed: \(\.\.\., 3\)"
    ):
        network(EFN).outputs(Batch(constituents=Ragged(torch.ones(2, 4), torch.tensor([0, 2]))))
