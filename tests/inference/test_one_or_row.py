"""What is in a picture is framed as one digit, or as the digits of a row, without being told which."""

import io

import numpy as np
import pytest
from PIL import Image

from lenet_lightning.inference import one_or_row, picture
from tests.inference import corpus


def content(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def beside(*digits, **look):
    """Digits drawn from left to right, each in a square of its own."""
    drawn = [corpus.drawn(*strokes, **look) for strokes in digits]
    row = Image.new("L", (sum(each.width for each in drawn), drawn[0].height), 255)
    for place, each in enumerate(drawn):
        row.paste(each, (place * each.width, 0))
    return row


def same(one, other):
    return one.notice == other.notice and np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("strokes", [corpus.FOUR, [corpus.SEVEN], [corpus.ONE]], ids=["4", "7", "1"])
def test_one_digit_is_framed_as_one(strokes):
    data = content(corpus.drawn(*strokes))
    one, rows = one_or_row.frame(data)
    assert same(one, picture.frame(data))
    assert rows is None


@pytest.mark.parametrize("count", [2, 3, 5])
def test_several_are_framed_as_a_row(count):
    data = content(beside(*[[corpus.SEVEN], corpus.FOUR, [corpus.ONE], [corpus.SEVEN], corpus.FOUR][:count]))
    _, rows = one_or_row.frame(data)
    (line,) = rows.found[0].lines
    assert len(line.parts) == count


def test_a_blank_picture_stays_one_blank():
    blank, rows = one_or_row.frame(content(Image.new("L", (90, 90), 255)))
    assert (blank.pixels, blank.notice, rows) == (None, "blank", None)


def test_a_digit_in_pieces_that_is_framed_already_stays_one():
    # a U without its bottom: two strokes beside each other
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 7:10] = image[4:24, 18:21] = 255
    kept, rows = one_or_row.frame(content(Image.fromarray(image)))
    assert np.array_equal(kept.pixels, image)
    assert rows is None


def test_the_ground_of_ink_is_as_asked_for_in_a_row_too():
    data = content(Image.eval(beside([corpus.SEVEN], corpus.FOUR), lambda grey: 255 - grey))
    _, rows = one_or_row.frame(data, "yes")
    assert len(rows.found[0].lines[0].parts) == 2
