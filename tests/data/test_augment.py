from itertools import pairwise

import pytest
import torch

from lenet_lightning.data.augment import Distortion


@pytest.fixture
def digits():
    """Soft blobs, so that what moves them by less than a pixel shows."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    centre = torch.linspace(10, 17, 64).view(-1, 1, 1)
    return (-((x - 13) ** 2 / 6 + (y - centre) ** 2 / 20)).exp().unsqueeze(1)


def distort(images, seed=0, **strength):
    return Distortion(**strength)(images, torch.Generator().manual_seed(seed))


def centroid(images):
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    mass = images.sum((1, 2, 3))
    return torch.stack([(images[:, 0] * x).sum((1, 2)) / mass, (images[:, 0] * y).sum((1, 2)) / mass], 1)


def spread(images):
    x = torch.arange(28.0)
    columns = images.sum((1, 2))
    mean = (columns * x).sum(1, keepdim=True) / columns.sum(1, keepdim=True)
    return ((columns * (x - mean) ** 2).sum(1) / columns.sum(1)).sqrt()


def test_no_strength_changes_nothing(digits):
    torch.testing.assert_close(distort(digits), digits, rtol=0, atol=1e-5)
    assert not Distortion()


@pytest.mark.parametrize("epochs", [1, 3, 10, 15, 130])
def test_it_weakens_evenly_over_the_last_two_fifths_of_the_epochs(epochs):
    strong = Distortion(rotation=20, elastic=0.5, end=0.25)
    angles = [strong.in_epoch(epoch, epochs).rotation for epoch in range(epochs)]
    assert angles[-1] == pytest.approx(5) and strong.in_epoch(epochs - 1, epochs).elastic == pytest.approx(0.125)
    early = [angle for epoch, angle in enumerate(angles, 1) if epoch <= 0.6 * epochs]
    assert early == pytest.approx([20] * len(early))
    late = angles[len(early) :]
    assert [b - a for a, b in pairwise(late)] == pytest.approx([-15 / (0.4 * epochs)] * (len(late) - 1))


@pytest.mark.parametrize("epochs", [-1, 0, 10])
def test_it_keeps_its_strength_unless_it_has_another_end(epochs):
    assert Distortion(rotation=20, end=1).in_epoch(9, epochs) == Distortion(rotation=20)


@pytest.mark.parametrize("endless", [-1, 0])
def test_without_a_last_epoch_it_keeps_its_strength(endless):
    assert Distortion(rotation=20, end=0).in_epoch(9, endless) == Distortion(rotation=20)


@pytest.mark.parametrize("kind", ["rotation", "scale", "shift", "shear", "elastic"])
def test_each_kind_changes_each_digit_by_its_own_draw(digits, kind):
    same = digits[:1].expand(64, -1, -1, -1)
    moved = distort(same, **{kind: {"rotation": 15.0, "scale": 0.2, "shift": 2.0, "shear": 0.3, "elastic": 1.0}[kind]})
    assert (moved - same).abs().amax((1, 2, 3)).median() > 0.02
    assert len(moved.flatten(1).unique(dim=0)) == 64


def test_shift_is_in_pixels_and_bounded(digits):
    offsets = (centroid(distort(digits, shift=2.0)) - centroid(digits)).abs()
    assert 1.5 < offsets.max() <= 2.01


def test_rotation_is_in_degrees_and_keeps_lengths(digits):
    upright = digits[32:33].expand(500, -1, -1, -1)
    turned = distort(upright, rotation=20.0)[:, 0]
    y, x = torch.meshgrid(torch.arange(28.0) - 13.5, torch.arange(28.0) - 13.5, indexing="ij")
    mass = turned.sum((1, 2))
    mx, my = (turned * x).sum((1, 2)) / mass, (turned * y).sum((1, 2)) / mass
    xx = (turned * x * x).sum((1, 2)) / mass - mx**2
    yy = (turned * y * y).sum((1, 2)) / mass - my**2
    xy = (turned * x * y).sum((1, 2)) / mass - mx * my
    angle = (0.5 * torch.atan2(2 * xy, yy - xx)).rad2deg().abs()
    assert 19 < angle.max() < 21
    torch.testing.assert_close(xx + yy, (xx + yy).mean().expand(500), rtol=0.03, atol=0)


def test_scale_is_a_fraction(digits):
    ratio = spread(distort(digits, scale=0.2)) / spread(digits)
    assert 1.15 < ratio.max() < 1.3  # input is read at 0.8 to 1.2 of the distance
    assert 0.82 < ratio.min() < 0.87


def test_shear_moves_rows_sideways_in_proportion(digits):
    upright = digits[32:33].expand(200, -1, -1, -1)
    sheared = distort(upright, shear=0.3)[:, 0]
    x = torch.arange(28.0)
    row_centre = (sheared * x).sum(2) / sheared.sum(2)
    slope = (row_centre[:, 18] - row_centre[:, 8]) / 10
    assert 0.27 < slope.abs().max() <= 0.31


def test_background_stays_background_at_the_edges(digits):
    assert distort(digits, shift=5.0, rotation=30.0).amin() >= 0
    assert distort(torch.zeros(8, 1, 28, 28), elastic=2.0, rotation=30.0).abs().max() == 0


def test_the_generator_alone_decides(digits):
    strength = {"rotation": 10.0, "elastic": 1.0}
    torch.manual_seed(1)
    first = distort(digits, 5, **strength)
    torch.manual_seed(2)
    assert torch.equal(first, distort(digits, 5, **strength))
    assert not torch.equal(first, distort(digits, 6, **strength))
