from __future__ import annotations

import math

import pytest
import torch

from hepcalib.exceptions import ShapeError
from hepcalib.models.images import centred, flipped, normalised, pixelated, rotated
from hepcalib.ragged import Ragged

PIXELS, HALF_WIDTH = 33, 0.8
COUNTS = (12, 1, 2, 0, 25)


def points(counts: tuple[int, ...] = COUNTS, seed: int = 1) -> Ragged:
    """Elongated jets with one side harder than the other."""
    generator = torch.Generator().manual_seed(seed)
    items = sum(counts)
    weight = torch.rand(items, 1, generator=generator, dtype=torch.float64) + 0.1
    place = torch.randn(items, 2, generator=generator, dtype=torch.float64)
    place = place * torch.tensor([0.25, 0.06]).double()
    return Ragged(torch.cat([weight, place], 1), torch.tensor([0, *counts]).cumsum(0))


def turned(jets: Ragged, angle: float, *, mirror: bool = False) -> Ragged:
    """The jets rotated about the origin, and mirrored before if asked for."""
    weight, y, phi = jets.values.unbind(1)
    y = -y if mirror else y
    cosine, sine = math.cos(angle), math.sin(angle)
    values = torch.stack([weight, y * cosine - phi * sine, y * sine + phi * cosine], dim=1)
    return Ragged(values, jets.offsets)


def moved(jets: Ragged, y: float, phi: float) -> Ragged:
    return Ragged(jets.values + torch.tensor([0.0, y, phi]).double(), jets.offsets)


def standard(jets: Ragged) -> Ragged:
    return flipped(rotated(centred(jets)))


def image(jets: Ragged) -> torch.Tensor:
    """The weights and the number of constituents in each pixel."""
    quantities = torch.stack([jets.values[:, 0], torch.ones(jets.items).double()], dim=1)
    return pixelated(jets, quantities, pixels=PIXELS, half_width=HALF_WIDTH)


def away_from_edges(jets: Ragged) -> bool:
    cells = (jets.values[:, 1:] + HALF_WIDTH) * PIXELS / (2 * HALF_WIDTH)
    return bool(((cells - cells.round()).abs() > 1e-3).all())


@pytest.mark.parametrize("angle", [0.3, 1.0, math.pi / 2, 2.5, math.pi, 5.0])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_moved_turned_or_mirrored_jet_is_the_same_image(angle: float, mirror: bool) -> None:
    jets = points()
    other = moved(turned(jets, angle, mirror=mirror), 0.7, -0.4)
    expected = standard(jets)
    assert away_from_edges(expected)
    torch.testing.assert_close(standard(other).values, expected.values, rtol=0, atol=1e-12)
    assert torch.equal(image(standard(other)), image(expected))


def test_without_the_rotation_it_is_not() -> None:
    """The negative control, and those of centring and flipping."""
    jets = points()
    expected = image(flipped(centred(jets)))
    assert not torch.equal(image(flipped(centred(turned(jets, 0.3)))), expected)
    assert not torch.equal(image(moved(jets, 0.7, 0.0)), image(jets))
    assert not torch.equal(image(rotated(centred(turned(jets, math.pi)))), image(standard(jets)))
    assert not torch.equal(image(rotated(centred(turned(jets, 0.0, mirror=True)))), expected)


def test_centred_points_have_mean_zero() -> None:
    found = centred(points())
    mean = Ragged(found.values[:, :1] * found.values[:, 1:], found.offsets).sum()
    torch.testing.assert_close(mean, torch.zeros(len(COUNTS), 2).double(), rtol=0, atol=1e-14)
    assert torch.equal(found.values[:, 0], points().values[:, 0])


def test_weights_of_zero_do_not_divide_by_zero() -> None:
    jets = Ragged(torch.tensor([[0.0, 0.1, 0.2]]), torch.tensor([0, 1]))
    assert torch.equal(centred(jets).values, jets.values)


def test_rotated_points_have_a_vertical_principal_axis() -> None:
    weight, y, phi = rotated(centred(points())).values.unbind(1)

    def moment(product: torch.Tensor) -> torch.Tensor:
        return Ragged(weight * product, points().offsets).sum()

    zero = torch.zeros(len(COUNTS)).double()
    torch.testing.assert_close(moment(y * phi), zero, rtol=0, atol=1e-14)
    assert (moment(phi * phi) >= moment(y * y)).all()
    assert (moment(phi * phi)[[0, 4]] > 2 * moment(y * y)[[0, 4]]).all()


def test_flipped_points_have_the_larger_weight_right_and_up() -> None:
    weight, y, phi = standard(points()).values.unbind(1)
    for place in (y, phi):
        excess = Ragged(weight * place.sign() * (place.abs() > 1e-6), points().offsets).sum()
        assert (excess >= 0).all()
        assert excess[0] > 0


def test_pixels_are_those_of_a_loop() -> None:
    jets = points()
    expected = torch.zeros(len(COUNTS), 2, PIXELS, PIXELS, dtype=torch.float64)
    for row, jet in enumerate(jets.tolist()):
        for weight, y, phi in jet:
            if abs(y) < HALF_WIDTH and abs(phi) < HALF_WIDTH:
                up = int((phi + HALF_WIDTH) / (2 * HALF_WIDTH) * PIXELS)
                right = int((y + HALF_WIDTH) / (2 * HALF_WIDTH) * PIXELS)
                expected[row, 0, up, right] += weight
                expected[row, 1, up, right] += 1
    assert away_from_edges(jets)
    torch.testing.assert_close(image(jets), expected)


def test_the_image_has_all_that_is_inside() -> None:
    jets = standard(points())
    found = image(jets)
    assert (jets.values[:, 1:].abs() < HALF_WIDTH).all()
    weights = Ragged(jets.values[:, 0], jets.offsets).sum()
    torch.testing.assert_close(found[:, 0].sum((1, 2)), weights)
    assert found[:, 1].sum((1, 2)).tolist() == list(COUNTS)
    beyond = moved(jets, 10.0, 0.0)
    assert image(beyond).abs().max() == 0


def test_normalised_images_sum_to_one_and_empty_ones_to_zero() -> None:
    found = normalised(image(points()))
    expected = torch.tensor([float(count > 0) for count in COUNTS]).double()
    for channel in range(2):
        torch.testing.assert_close(found[:, channel].sum((1, 2)), expected)
    assert found[3].abs().max() == 0


@pytest.mark.parametrize("pixels", [32, 33])
def test_a_point_in_the_middle_has_one_pixel_whatever_its_rounding(pixels: int) -> None:
    for sign in (-1.0, 1.0):
        jets = Ragged(torch.tensor([[1.0, sign * 1e-8, -sign * 1e-8]]), torch.tensor([0, 1]))
        found = pixelated(jets, torch.ones(1, 1), pixels=pixels, half_width=0.4)
        assert found.nonzero().tolist() == [[0, 0, pixels // 2, pixels // 2]]


def test_the_gradient_is_that_of_the_quantities() -> None:
    jets = points()
    quantities = jets.values[:, :1].clone().requires_grad_()
    found = pixelated(jets, quantities, pixels=PIXELS, half_width=HALF_WIDTH)
    (gradient,) = torch.autograd.grad(found.square().sum(), quantities)
    with_itself = 2 * found.detach()[:, 0].sum((1, 2)).max()
    assert 0 < gradient.min() <= gradient.max() <= with_itself
    assert rotated(centred(jets)).values.isfinite().all()


def test_other_shapes_are_refused() -> None:
    jets = points()
    with pytest.raises(ShapeError, match=r"quantities \(3, 1\); needed: \(40, C\)"):
        pixelated(jets, torch.zeros(3, 1), pixels=3, half_width=1.0)
    with pytest.raises(ShapeError, match=r"points of shape \(4, 2\)"):
        centred(Ragged(torch.zeros(4, 2), torch.tensor([0, 4])))
