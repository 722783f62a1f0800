import numpy as np
import pytest
from numpy.random import SeedSequence
from scipy import ndimage

from lenet_lightning.rows.paper import pen
from lenet_lightning.rows.style import KINDS, TRAINING, Style
from lenet_lightning.rows.synthesis import CANVAS, INK, Line, Writer

SEEDS = range(30)
TWO = Style(digits=(2, 2), gap_spread=0)


def bar(column, wide, top=4, bottom=24):
    """A digit that is a bar of ink."""
    ink = np.zeros((28, CANVAS), np.uint8)
    ink[top:bottom, column : column + wide] = 255
    return ink


def test_a_row_is_a_function_of_its_seed_alone(writer):
    rows = [writer.row(TRAINING, SeedSequence(seed), 128) for seed in SEEDS]
    for seed in reversed(SEEDS):  # in another order
        row, digits = writer.row(TRAINING, SeedSequence(seed), 128)
        np.testing.assert_array_equal(row, rows[seed][0])
        assert digits == rows[seed][1]
    assert len({row.tobytes() for row, _ in rows}) == len(rows)


@pytest.mark.parametrize("width", [None, 128, 20])
@pytest.mark.parametrize("kind", [*KINDS, "training"])
def test_rows_have_the_width_and_no_more_digits_than_are_asked_for(writer, kind, width):
    styles = TRAINING if kind == "training" else ((1, KINDS[kind]),)
    for seed in SEEDS:
        row, digits = writer.row(styles, SeedSequence(seed), width)
        assert row.dtype == np.uint8
        assert row.shape == (28, row.shape[1] if width is None else width)
        assert len(digits) <= max(style.digits[1] for _, style in styles)
        assert width is not None or kind == "training" or len(digits) == 5


@pytest.mark.parametrize("gap", [-3, -1, 0, 1, 5, 12])
@pytest.mark.parametrize("lines", [((4, 24), (4, 24)), ((4, 14), (12, 24)), ((4, 14), (14, 24))])
def test_the_gap_is_the_paper_between_the_inks_where_they_are_nearest(gap, lines):
    line = Line()
    assert line.add(bar(10, 6, *lines[0]), 1, gap, 0, None)
    assert line.add(bar(14, 8, *lines[1]), 2, gap, 0, None)
    columns = np.flatnonzero(line.strip(None, None).any(0))
    assert columns[-1] + 1 - columns[0] == 6 + gap + 8


def test_inks_that_touch_are_one_and_those_apart_are_not(writer):
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        for gap, blots in ((0, 1), (1, 2)):
            line = Line()
            for at in draw.integers(10, size=2):
                # a blot that hangs together
                ink = np.pad(writer.images[at], ((0, 0), (8, 8)))
                ink[13:15, 16:28] = 255
                parts, _ = ndimage.label(ink >= INK, np.ones((3, 3)))
                line.add(np.where(parts == parts[13, 20], ink, 0), at, gap, 0, None)
            assert ndimage.label(line.strip(None, draw) >= INK, np.ones((3, 3)))[1] == blots


def test_digits_keep_their_order_however_they_overlap():
    line = Line()
    for digit in range(4):
        line.add(bar(10, 1 + 5 * (digit % 2)), digit, -30, 0, None)
    assert line._places == sorted(line._places)


def test_a_digit_without_room_is_left_out_and_those_after_it(writer):
    line = Line()
    assert line.add(bar(10, 20), 1, 2, 0, 40)
    assert not line.add(bar(10, 20), 2, 2, 0, 40)
    assert line.digits == [1]


def test_an_empty_row_has_no_digits_and_no_ink(writer):
    row, digits = writer.row(((1, Style(empty=1)),), SeedSequence(0), 60)
    assert not row.any()
    assert digits == []


def test_a_digit_without_ink_is_no_digit():
    blank = Writer(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64))
    assert blank.row(((1, TWO),), SeedSequence(0))[1] == []


def test_a_thicker_pen_has_more_ink_and_a_thinner_one_less(writer):
    row, _ = writer.row(((1, TWO),), SeedSequence(0))
    amounts = [pen(row, thickness).sum(dtype=int) for thickness in (-1.4, -1, -0.3, 0, 0.3, 1, 1.8)]
    assert amounts == sorted(set(amounts))
