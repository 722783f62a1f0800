"""Laws of finding rows: what is read does not depend on the paper, and what is left out is said."""

import io
import json
import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lenet_lightning import Recognizer, weights
from lenet_lightning.inference import packing, picture
from tests.inference.rows_drawn import row

SURE = 0.95


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(weights.SHIPPED)


@pytest.fixture(scope="module")
def plain():
    return row((4, 7, 1, 0))


@pytest.mark.parametrize("by", [-44, 44])
@pytest.mark.parametrize("which", range(4))
def test_a_digit_that_is_higher_or_lower_than_its_row_is_read(recognizer, plain, which, by):
    grey, boxes = plain
    left, _, right, _ = boxes[which]
    moved = grey.copy()
    moved[:, left - 8 : right + 8] = np.roll(grey[:, left - 8 : right + 8], by, 0)
    answer = recognizer.line(moved)
    assert answer.text == "4710" and answer.notice is None


def ruled(grey, first, step, level=120, width=2):
    lined = grey.copy()
    for top in range(first, grey.shape[0], step):
        lined[top : top + width] = np.minimum(lined[top : top + width], level)
    return lined


def slanted_rules(grey, at, fall, level=110, width=3):
    image = Image.fromarray(grey)
    image2 = Image.new("L", image.size, 255)
    pen = ImageDraw.Draw(image2)
    pen.line([(0, at), (image.width, at + fall)], level, width)
    return np.minimum(grey, np.asarray(image2))


def squared(grey):
    lined = ruled(grey, 12, 44)
    return ruled(np.ascontiguousarray(lined.T), 9, 44).T


def boxed(grey):
    image = Image.fromarray(grey)
    ImageDraw.Draw(image).rectangle((18, 22, image.width - 18, image.height - 22), outline=30, width=4)
    return np.asarray(image)


def shaded(grey):
    """Light that falls off softly in a corner."""
    y, x = np.mgrid[-1 : 1 : grey.shape[0] * 1j, -1 : 1 : grey.shape[1] * 1j]
    return (grey * (1 - 0.6 / (1 + np.exp(-12 * (x + y - 0.7))))).astype(np.uint8)


def shadowed(grey):
    """A hard shadow across the row."""
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    shadow = Image.fromarray(
        np.where(3 * y + x > 0.55 * (3 * grey.shape[0] + grey.shape[1]), 150, 255).astype(np.uint8)
    )
    return (grey.astype(float) * np.asarray(shadow.filter(ImageFilter.GaussianBlur(1))) / 255).astype(np.uint8)


def specked(grey):
    specks = grey.copy()
    rng = np.random.default_rng(0)
    for top, left in zip(rng.integers(0, grey.shape[0] - 2, 60), rng.integers(0, grey.shape[1] - 2, 60), strict=True):
        specks[top : top + 2, left : left + 2] = 60
    return specks


def on_a_table(grey):
    table = np.full((grey.shape[0] + 90, grey.shape[1] + 110), 70, np.uint8)
    table[40:-50, 50:-60] = grey
    return table


def noisy(grey):
    return (grey + np.random.default_rng(0).normal(0, 12, grey.shape)).clip(0, 255).astype(np.uint8)


PAPERS = {
    "plain": np.copy,
    "light on dark": lambda grey: 255 - grey,
    "ruled": lambda grey: ruled(grey, 20, 60),
    "ruled through the feet": lambda grey: ruled(grey, 136, 400),
    "ruled, at a slant": lambda grey: slanted_rules(grey, 140, -10),
    "squared": squared,
    "in a box": boxed,
    "shaded in a corner": shaded,
    "in a hard shadow": shadowed,
    "with specks": specked,
    "on a table": on_a_table,
    "noisy": noisy,
    "small": lambda grey: np.asarray(Image.fromarray(grey).reduce(4)),
    "large": lambda grey: np.asarray(Image.fromarray(grey).resize((8 * grey.shape[1], 8 * grey.shape[0]))),
    "cut close": lambda grey: grey[60:-60, 60:-60],
    "a sheet's dark edge": lambda grey: np.pad(grey, ((0, 0), (9, 0)), constant_values=20),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_a_row_is_read_on_any_paper(recognizer, plain, paper):
    answer = recognizer.line(PAPERS[paper](plain[0]))
    assert answer.text == "4710"
    assert answer.probability > 0.5


def test_each_digit_is_where_it_was_drawn(recognizer, plain):
    grey, boxes = plain
    (found,) = recognizer.line(grey).rows
    for each, box in zip(found.digits, boxes, strict=True):
        drawn = grey[box[1] - 5 : box[3] + 5, box[0] - 5 : box[2] + 5] < 128
        rows, columns = (np.nonzero(drawn.any(axis))[0] for axis in (1, 0))
        truth = (columns[0] + box[0] - 5, rows[0] + box[1] - 5, columns[-1] + box[0] - 4, rows[-1] + box[1] - 4)
        assert np.abs(np.subtract(each.box, truth)).max() <= 2


@pytest.mark.parametrize("times", [1, 9])
def test_places_are_in_pixels_of_the_file(recognizer, plain, tmp_path, times):
    # a large JPEG picture is decoded at a part of its size
    image = Image.fromarray(plain[0])
    image.resize((times * image.width, times * image.height), Image.Resampling.BICUBIC).save(tmp_path / "row.jpg")
    answer = recognizer.line(tmp_path / "row.jpg")
    assert answer.size == (times * image.width, times * image.height)
    for each, box in zip(answer.rows[0].digits, plain[1], strict=True):
        middle = np.reshape(each.box, (2, 2)).mean(0) / times
        assert np.abs(middle - np.reshape(box, (2, 2)).mean(0)).max() < 8


def test_digits_at_the_border_are_read_and_what_it_cuts_is_said(recognizer, plain):
    grey, boxes = plain
    close = grey[:, boxes[0][0] + 8 : boxes[-1][2] + 9]
    answer = recognizer.line(close)
    assert answer.text == "4710"
    assert "border" in answer.notice


def test_low_digits_are_read(recognizer):
    grey, _ = row((7, 0, 0, 4, 0), heights=(1, 0.37, 0.37, 0.9, 0.37))
    assert recognizer.line(grey).text == "70040"


def test_rows_are_read_top_to_bottom(recognizer):
    rows = [row(each)[0] for each in ((4, 7, 1), (7, 7, 0), (1, 0, 4))]
    answer = recognizer.line(np.concatenate(rows))
    assert answer.text == "471/770/104"
    assert [each.text for each in answer.rows] == answer.text.split("/")
    assert answer.probability == pytest.approx(np.prod([each.probability for each in answer.rows]))


def test_a_leaning_row_is_one_row(recognizer):
    grey, _ = row((4, 7, 1, 0, 7, 7))
    leaning = Image.fromarray(grey).rotate(6, Image.Resampling.BICUBIC, expand=True, fillcolor=235)
    assert recognizer.line(leaning).text == "471077"


@pytest.mark.parametrize("turns", [1, 3])
def test_a_row_on_its_side_is_turned_and_its_places_turned_back(recognizer, turns):
    grey, _ = row((4, 7, 7, 4, 0))
    upright = recognizer.line(grey)
    answer = recognizer.line(np.ascontiguousarray(np.rot90(grey, turns)))
    assert (upright.text, answer.text) == ("47740", "47740")
    assert "turned" in answer.notice
    for each, other in zip(answer.rows[0].digits, upright.rows[0].digits, strict=True):
        left, top, right, bottom = (int(side) for side in other.box)
        mask = np.zeros(grey.shape, bool)
        mask[top:bottom, left:right] = True
        rows, columns = np.nonzero(np.rot90(mask, turns))
        turned = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(each.box, turned)).max() <= 2


def test_digits_below_each_other_stay_upright(recognizer):
    column = np.concatenate([row((each,))[0] for each in (4, 7, 4)])
    answer = recognizer.line(column)
    assert (answer.text, answer.notice) == ("4/7/4", None)


def marked(grey, boxes, draw):
    image = Image.fromarray(grey)
    between = (boxes[1][2] + boxes[2][0]) / 2
    draw(ImageDraw.Draw(image), between, boxes[1][3])
    return np.asarray(image)


MARKS = {
    "point": lambda pen, x, y: pen.ellipse((x - 6, y - 12, x + 6, y), 40),
    "comma": lambda pen, x, y: pen.line([(x + 3, y - 12), (x - 4, y + 16)], 40, 9),
    "dash": lambda pen, x, y: pen.line([(x - 13, y - 40), (x + 13, y - 40)], 40, 9),
}


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_is_left_out_is_said_and_makes_it_less_sure(recognizer, mark):
    grey, boxes = row((4, 7, 7, 0), gap=50)
    without, answer = recognizer.line(grey), recognizer.line(marked(grey, boxes, MARKS[mark]))
    assert (without.text, answer.text) == ("4770", "4770")
    assert without.notice is None
    assert "1 mark beside the digits left out" in answer.notice
    assert answer.probability < min(SURE, without.probability)


def test_neither_blank_nor_text_nor_long_pictures_take_long(recognizer):
    rng = np.random.default_rng(0)
    page = Image.new("L", (1600, 2200), 240)
    pen = ImageDraw.Draw(page)
    for top in range(60, 2100, 34):
        pen.text((80, top), "".join(rng.choice(list("abcdefgh jklm nopqrst uvw xyz. "), 110)), 30, font_size=24)
    dots = np.where(rng.random((900, 900)) < 0.05, 0, 255).astype(np.uint8)
    forty, _ = row(rng.choice([0, 1, 4, 7], 40).tolist())
    start = time.process_time()
    assert recognizer.line(np.full((300, 400), 200, np.uint8)).notice == "blank"
    for long in (np.zeros((1, 10_000), np.uint8), np.full((10_000, 1), 255, np.uint8)):
        assert recognizer.line(long) == recognizer.line(long)
    assert recognizer.line(row((7,))[0]).text == "7"
    assert len(recognizer.line(forty).text) == 40
    for strange in (page, dots, rng.integers(0, 256, (600, 800), np.uint8)):
        answer = recognizer.line(strange)
        assert answer.notice
        assert not answer.rows or answer.probability < SURE
    assert time.process_time() - start < 40


def test_a_row_that_is_not_sure_is_rejected(recognizer, plain):
    grey, boxes = row((4, 7, 7, 0), gap=50)
    doubtful = marked(grey, boxes, MARKS["comma"])
    margin = 4.0  # the row is exp(4) times as probable as all others: p > 0.982
    strict = Recognizer(weights.SHIPPED, reject_below=margin)
    assert strict.line(doubtful).rejected
    assert not recognizer.line(doubtful).rejected
    sure = strict.line(plain[0])
    assert sure.rejected == (sure.probability < 1 / (1 + np.exp(-margin)))


def test_what_is_found_survives_the_pipe_between_processes(recognizer, plain):
    for grey in (plain[0], np.rot90(plain[0]), np.full((30, 30), 9, np.uint8)):
        framed = picture.frame_rows(np.ascontiguousarray(grey))
        again = packing.unpacked(json.loads(json.dumps(packing.packed(framed))))
        one, other = recognizer.rows_answer(framed), recognizer.rows_answer(again)
        assert (one.text, one.probability, one.notice, one.size) == (
            other.text,
            other.probability,
            other.notice,
            other.size,
        )
        assert [each.box for found in one.rows for each in found.digits] == [
            each.box for found in other.rows for each in found.digits
        ]


def test_a_notebook_shows_each_digit_of_each_row_and_the_notice(recognizer, plain):
    lines = recognizer.line(np.vstack([plain[0], plain[0]]))
    shown = np.asarray(Image.open(io.BytesIO(lines._repr_png_())).convert("L"))
    assert lines.text == "4710/4710"
    for row_ in lines.rows:
        for digit in row_.digits:
            enlarged = digit.seen.repeat(2, 0).repeat(2, 1)
            found = cv2.matchTemplate(shown, enlarged, cv2.TM_SQDIFF)
            assert found.min() == 0


def test_a_notebook_shows_the_notice_of_a_blank_picture(recognizer):
    lines = recognizer.line(np.full((50, 50), 255, np.uint8))
    shown = np.asarray(Image.open(io.BytesIO(lines._repr_png_())).convert("L"))
    assert not lines.rows
    assert (shown < 200).any()
