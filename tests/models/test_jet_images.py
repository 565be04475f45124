from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import BernoulliHead, images
from hepcalib.models import jet_images as module
from hepcalib.models.jet_images import JetImages
from hepcalib.models.stacking import stacked_outputs
from hepcalib.ragged import Ragged

COUNTS = (20, 0, 1, 45, 3)


def network(**keywords: object) -> JetImages:
    torch.manual_seed(2)
    chosen: dict[str, object] = {"constituents": 4, "half_width": 0.8, **keywords}
    return JetImages(head=BernoulliHead(), **chosen).double()  # type: ignore[arg-type]  # keywords of several types


def larger() -> JetImages:
    return network(
        pixels=40,
        filters=(64, 32, 32, 32),
        kernels=(4, 4, 4, 4),
        pools=(1, 2, 1, 2),
        f=(32, 64, 64),
    )


def jets() -> Ragged:
    generator = torch.Generator().manual_seed(1)
    offsets = torch.tensor([0, *COUNTS]).cumsum(0)
    share = Ragged(torch.rand(sum(COUNTS), 1, generator=generator).double(), offsets)
    share = Ragged(share.values / share.repeat(share.sum()), offsets)
    place = torch.randn(sum(COUNTS), 2, generator=generator).double()
    place = place * torch.tensor([0.2, 0.05]).double()
    charge = torch.randint(-1, 2, (sum(COUNTS), 1), generator=generator).double()
    return Ragged(torch.cat([share.values, place, charge], 1), offsets)


def convolved(model: JetImages, image: torch.Tensor) -> torch.Tensor:
    """The model with the convolutions of torch."""
    for linear, kernel, pool in zip(
        model.convolutions, model.widths["kernels"], model.widths["pools"], strict=True
    ):
        parameters = dict(linear.named_parameters())
        weight = parameters["0.weight"].view(-1, image.shape[1], kernel, kernel)
        convolution = nn.Conv2d(image.shape[1], len(weight), kernel).double()
        convolution.load_state_dict({"weight": weight, "bias": parameters["0.bias"]})
        image = nn.functional.max_pool2d(convolution(image).relu(), pool)
    outputs: torch.Tensor = model.f(image.flatten(1))
    return outputs


@pytest.mark.parametrize("make", [network, larger])
def test_equals_the_convolutions_of_torch(make: object) -> None:
    assert callable(make)
    model = make()
    expected = convolved(model, model.images(jets()))
    found = model.outputs(Batch(constituents=jets()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert found.std() > 1e-5


def test_number_of_parameters() -> None:
    def count(model: JetImages) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    first = (2 * 64 + 1) * 8 + 2 * (8 * 16 + 1) * 8
    assert count(network()) == first + (8 + 1) * 50 + 51
    convolutions = (2 * 16 + 1) * 64 + (64 * 16 + 1) * 32 + 2 * (32 * 16 + 1) * 32
    dense = (32 * 5 * 5 + 1) * 32 + 33 * 64 + 65 * 64 + 65
    assert count(larger()) == convolutions + dense


def test_a_turned_jet_is_the_same_unless_images_are_not_rotated() -> None:
    z, y, phi, charge = jets().values.unbind(1)
    cosine, sine = math.cos(2.0), math.sin(2.0)
    values = torch.stack([z, y * cosine - phi * sine, y * sine + phi * cosine, charge], dim=1)
    turned = Batch(constituents=Ragged(values, jets().offsets))
    batch, model = Batch(constituents=jets()), network()
    torch.testing.assert_close(model.outputs(turned), model.outputs(batch), rtol=1e-12, atol=0)
    fixed = network(rotate=False, flip=False)
    assert not torch.allclose(fixed.outputs(turned), fixed.outputs(batch), rtol=1e-3)


def test_channels_are_momentum_and_multiplicity() -> None:
    all_of_them, charged = network().images(jets()), network(charged=3).images(jets())
    filled = torch.tensor([float(count > 0) for count in COUNTS]).double()
    for image in (all_of_them, charged):
        assert image.shape == (len(COUNTS), 2, 33, 33)
        torch.testing.assert_close(image[:, 0].sum((1, 2)), filled)
    assert all_of_them[:, 1].sum((1, 2)).tolist() == list(COUNTS)
    charges = Ragged((jets().values[:, 3] != 0).double(), jets().offsets).sum()
    assert torch.equal(charged[:, 1].sum((1, 2)), charges)
    assert all_of_them[1].abs().max() == 0


def test_images_are_made_by_the_functions() -> None:
    packed = jets()
    points = Ragged(packed.values[:, :3], packed.offsets)
    for rotate, flip in ((True, True), (True, False), (False, True), (False, False)):
        expected = images.centred(points)
        expected = images.rotated(expected) if rotate else expected
        expected = images.flipped(expected) if flip else expected
        shares = points.values[:, :1]
        image = images.pixelated(expected, shares, pixels=33, half_width=0.8)
        found = network(rotate=rotate, flip=flip).images(jets())
        torch.testing.assert_close(found[:, :1], images.normalised(image))


def test_blocks_bound_the_memory_of_the_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(), Batch(constituents=jets())
    expected = model.outputs(batch)
    seen: list[int] = []
    model.convolutions[0].register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].numel())
    )
    for cells in (1, 2 * 26**2 * 128, 10**9):
        monkeypatch.setattr(module, "CELLS", cells)
        torch.testing.assert_close(model.outputs(batch), expected, rtol=1e-12, atol=0)
        assert max(seen) <= max(cells, 26**2 * 128)
        seen.clear()


def test_all_patches_of_a_jet_see_the_same_weights() -> None:
    assert JetImages.constituent_modules == ("convolutions",)
    model = network(features=1)
    batch = Batch(torch.ones(len(COUNTS), 1).double(), jets())
    stacked = {
        name: torch.stack([value, 2 * value]).detach() for name, value in model.named_parameters()
    }
    found = stacked_outputs(model, stacked, batch)
    torch.testing.assert_close(found[0], model.outputs(batch))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(found[1], model.outputs(batch))


def test_the_gradient_towards_the_momenta_is_finite() -> None:
    values = jets().values.clone().requires_grad_()
    found = network().outputs(Batch(constituents=Ragged(values, jets().offsets)))
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert gradient.isfinite().all()
    assert gradient[:, 0].abs().max() > 0


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="constituents is 2"):
        network(constituents=2)
    with pytest.raises(ConfigError, match="charged 4"):
        network(charged=4)
    with pytest.raises(ConfigError, match="half_width 0"):
        network(half_width=0.0)
    for wrong in (
        {"pixels": 20},
        {"kernels": (8, 8, 8)},
        {"pools": (2, 2)},
        {"kernels": (8, 0, 4)},
    ):
        with pytest.raises(ConfigError, match="a pixel left after them"):
            network(**wrong)
    with pytest.raises(ConfigError, match="layer widths"):
        network(f=(0,))
    with pytest.raises(ShapeError, match="JetImages: constituents of the batch: none"):
        network().outputs(Batch(torch.zeros(1, 1)))
