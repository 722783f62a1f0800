"""Laws of framing: what the digit looks like does not depend on how its picture was made."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from lenet_lightning.inference import framing, lines

FIVE = [(0.8, 0.1), (0.3, 0.1), (0.25, 0.45), (0.6, 0.42), (0.75, 0.65), (0.55, 0.9), (0.2, 0.85)]


def drawn(canvas=(300, 340), size=200, at=(70, 50), width=26, points=FIVE):
    """Black on white: a polyline scaled to `size`, at (left, top); (height, width) uint8."""
    image = Image.new("L", (4 * canvas[1], 4 * canvas[0]), 255)
    line = [(4 * (at[0] + x * size), 4 * (at[1] + y * size)) for x, y in points]
    width *= 4
    pen = ImageDraw.Draw(image)
    pen.line(line, 0, width, joint="curve")
    for x, y in (line[0], line[-1]):
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), 0)
    return np.asarray(image.reduce(4))  # smooth edges


def framed(grey, invert="auto"):
    digit = framing.find(grey, invert).digit
    assert digit is not None
    return digit


def alike(one, other):
    """Mean difference in grey levels, of the ink's own sum."""
    return np.abs(one.astype(float) - other).sum() / one.sum()


@pytest.fixture(scope="module")
def five():
    return framed(drawn())


def test_a_found_digit_is_framed_as_mnist_frames_it(five):
    assert (five.shape, five.dtype, five.max()) == ((28, 28), np.uint8, 255)
    assert framing.is_framed(five)
    ink = five > 127
    assert max(np.ptp(where) + 1 for where in np.nonzero(ink)) in (19, 20)
    assert np.abs(np.subtract(ndimage.center_of_mass(five), 14)).max() <= 0.5


PLACES = {
    "light on dark": lambda: 255 - drawn(),
    "larger": lambda: drawn((900, 1000), 600, (200, 150), 78),
    "smaller": lambda: drawn((60, 60), 40, (8, 12), 5),
    "in a corner of a large sheet": lambda: drawn((1200, 1600), 100, (1450, 1080), 13),
    "faint": lambda: 230 - (255 - drawn()) // 7,
    "in slanting light": lambda: (drawn() * np.linspace(1, 0.4, 340)).astype(np.uint8),
    "with specks": lambda: np.minimum(drawn(), 255 - 255 * (np.arange(300 * 340).reshape(300, 340) % 7919 == 0)).astype(
        np.uint8
    ),
    "ruled": lambda: np.where((np.arange(300) % 50 < 2)[:, None], np.minimum(drawn(), 190), drawn()).astype(np.uint8),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_same_digit_is_found_wherever_it_is(five, place):
    assert alike(five, framed(PLACES[place]())) < 0.25


def test_a_caption_beside_a_photograph_is_no_ink(five):
    paper = 120 + 45 * (drawn() > 127)  # grey pencil on grey paper, both far from the page's white
    page = np.pad(paper.astype(np.uint8), ((12, 40), (12, 12)), constant_values=255)
    shot = Image.fromarray(page)
    ImageDraw.Draw(shot).text((14, page.shape[0] - 26), "Predicted digit: 5", 0)
    assert alike(five, framed(np.asarray(shot))) < 0.25


@pytest.mark.parametrize("side", range(4))
def test_a_dark_strip_along_the_border_is_no_ink(side):
    turned = np.rot90(drawn(), side)
    strip = turned.copy()
    strip[:, :20] = 40
    assert alike(framed(turned), framed(strip)) < 0.25


def test_the_edges_of_a_sheet_are_no_ink(five):
    sheet = Image.fromarray(drawn()).convert("RGBA").rotate(5, Image.Resampling.BICUBIC, expand=True)
    table = Image.new("RGBA", (sheet.width + 60, sheet.height + 60), (70, 70, 70, 255))
    table.alpha_composite(sheet, (30, 30))
    upright = Image.fromarray(framed(np.asarray(table.convert("L")))).rotate(-5, Image.Resampling.BICUBIC)
    assert alike(five, np.asarray(upright)) < 0.3


def test_a_thin_pen_is_seen_as_thick_as_those_of_mnist(five):
    thin = framed(drawn(width=5))
    assert thin.sum() > 0.5 * five.sum()
    assert alike(five, thin) < 0.6


@pytest.mark.parametrize(
    "blank",
    [
        np.full((200, 300), 255, np.uint8),
        np.zeros((200, 300), np.uint8),
        np.tile(np.linspace(40, 250, 300).astype(np.uint8), (200, 1)),
        np.random.default_rng(0).normal(200, 8, (200, 300)).clip(0, 255).astype(np.uint8),
        np.zeros((1, 1), np.uint8),
        np.full((1, 10_000), 90, np.uint8),
    ],
    ids=["white", "black", "gradient", "noise", "1 x 1", "1 x 10,000"],
)
def test_nothing_is_found_where_there_is_nothing(blank):
    assert framing.find(blank, "auto").digit is None


def test_with_invert_set_only_that_ink_is_found(five):
    assert alike(five, framed(drawn(), "no")) < 0.05
    assert alike(five, framed(255 - drawn(), "yes")) < 0.05
    # dark ink alone: what the light ink leaves between its lines is not taken for a digit of its own shape
    wrong = framing.find(255 - drawn(), "no").digit
    assert wrong is None or alike(five, wrong) > 0.5


def test_a_row_is_read_from_left_to_right():
    one, two = [(0.5, 0.1), (0.5, 0.9)], [(0.2, 0.2), (0.8, 0.2), (0.2, 0.9), (0.8, 0.9)]
    row = np.hstack([drawn((300, 220), 200, (10, 50), 26, points) for points in (one, two, FIVE)])
    (found,) = lines.find(row, "auto")
    (line,) = found.lines
    assert len(line.parts) == 3
    alone = [framed(drawn(points=points)) for points in (one, two, FIVE)]
    assert [alike(each, part.image) < 0.15 for each, part in zip(alone, line.parts, strict=True)] == [True] * 3
    assert framing.find(row, "auto").apart == 3


@pytest.mark.parametrize("edge", ["left", "right"])
def test_digits_that_the_border_cuts_count(edge):
    row = np.hstack([drawn((300, 240), 200, (20, 50), 26, points) for points in (FIVE, FIVE)])
    cut = row[:, 60:] if edge == "left" else row[:, :-60]
    assert framing.find(cut, "auto").apart == 2


def test_digits_above_each_other_count():
    assert framing.find(np.vstack([drawn(), drawn()]), "auto").apart == 2


def test_several_that_touch_are_wider_than_a_digit(five):
    two = [(0, 0.5), (0.4, 0.1), (0.8, 0.5), (0.4, 0.9), (0, 0.5), (0.8, 0.5)]
    touching = [*two, *[(x + 0.8, y) for x, y in two]]
    assert framing.find(drawn((300, 500), 200, (60, 50), 20, touching), "auto").wide
    assert not framing.find(drawn(), "auto").wide
