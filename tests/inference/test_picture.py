"""Laws of reading pictures: any file, image or array ends in a framed digit, "blank", or one line that helps."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from lenet_lightning import Recognizer, weights
from lenet_lightning.data import files
from lenet_lightning.errors import RunError
from lenet_lightning.inference import framing, picture
from tests.inference import corpus, telephone
from tests.inference.renderings import TURNS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def read():
    """The shipped weights' answer, whatever runs there are."""
    return Recognizer(weights.SHIPPED)


@pytest.fixture(scope="module")
def upright():
    return picture.frame(corpus.seven()).pixels


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: ascii(case.name))


@by_name(corpus.GOOD + corpus.BLANK)
def test_the_digit_of_each_file_is_read(read, tmp_path, case):
    case.make(tmp_path / case.name)
    answer = read(tmp_path / case.name)
    assert (answer.digit, answer.notice) == (case.digit, case.notice)
    if case.digit is not None:
        assert answer.probabilities[case.digit] > 0.99
        assert framing.is_framed(answer.seen)


@by_name(corpus.BAD)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, case):
    path = tmp_path / case.name
    case.make(path)
    for frame in (picture.frame, picture.frame_rows):
        with pytest.raises(RunError) as caught:
            frame(path)
        assert corpus.without_count(str(caught.value)) == f"{path}: {case.error}"


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(RunError, match="must be a picture file, is a folder; pass another"):
        picture.frame(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match=r"none\.png: cannot be read: No such file"):
        picture.frame(tmp_path / "none.png")


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become somebody who may not read it")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "secret.png"
    corpus.seven().save(path)
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    # imported before it may no longer read the packages
    code = (
        "import os, sys; from lenet_lightning.errors import RunError; from lenet_lightning.inference import picture\n"
        "os.setgroups([]); os.setuid(65534)\n"
        "try: picture.frame(sys.argv[1])\n"
        "except RunError as error: print(error)"
    )
    fresh = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run([sys.executable, "-c", code, str(path)], **fresh, check=False)
    assert done.stdout == f"{path}: cannot be read: Permission denied; change its permissions\n", done.stderr


def test_heic_without_pillow_heif_is_named_with_the_extra(tmp_path, monkeypatch):
    telephone.heic(tmp_path / "seven.jpg", corpus.seven())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(RunError, match=r"seven\.jpg: must be .*, is HEIC, .*'lenet_lightning\[heic\]', or save it as"):
        picture.frame(tmp_path / "seven.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "HEIF"])
def test_a_file_cut_off_or_changed_anywhere_is_read_or_is_a_run_error(kind):
    stream = io.BytesIO()
    corpus.drawn(corpus.SEVEN, side=60, mode="RGB").save(stream, kind)
    whole = stream.getvalue()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        for broken in (whole[:place], whole[:place] + bytes(rng.integers(0, 256, 4, np.uint8)) + whole[place + 4 :]):
            try:
                found = picture.frame(io.BytesIO(broken))
            except RunError as error:
                assert str(error).startswith("the picture: ")
                assert "\n" not in str(error)
            else:
                assert found.pixels is not None or "blank" in found.notice


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_a_picture_stored_turned_is_seen_upright(tmp_path, upright, turn, suffix):
    path = tmp_path / f"turned{suffix}"
    corpus.turned(path, turn)
    seen = picture.frame(path).pixels.astype(float)
    assert np.abs(seen - upright).mean() < 4
    # else the digit would show nothing of it
    wrong = picture.frame(corpus.seven().transpose(TURNS[turn])).pixels
    assert np.abs(seen - wrong).mean() > 20
    thumbnail = np.asarray(picture.thumbnail(path, 100).convert("L"), float)
    assert np.abs(thumbnail - np.asarray(corpus.seven().resize((100, 100)), float)).mean() < 8


def test_the_frame_of_a_gif_may_be_larger_than_the_picture_says():
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "GIF")
    whole = bytearray(stream.getvalue())
    start = whole.index(b",")
    whole[start + 5 : start + 9] = (60_000).to_bytes(2, "little") * 2
    with pytest.raises(RunError, match="at most 50 million pixels"):
        picture.frame(io.BytesIO(bytes(whole)))


MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I", "F")


@pytest.mark.parametrize("mode", MODES)
def test_images_in_memory(upright, mode):
    image = corpus.seven().convert("RGB").convert(mode) if mode == "HSV" else corpus.seven().convert(mode)
    before = image.tobytes()
    assert np.abs(picture.frame(image).pixels.astype(float) - upright).mean() < 4
    thumbnail = picture.thumbnail(image, 50)
    assert (thumbnail.mode, thumbnail.size) == ("RGB", (50, 50))
    assert np.ptp(np.asarray(thumbnail)) > 100
    assert (image.tobytes(), image.size) == (before, (200, 200))


def test_an_image_in_memory_has_the_same_limits():
    large = Image.new("1", (10_000, 5_001))
    with pytest.raises(RunError, match="the picture: must have at most 50 million pixels"):
        picture.frame(large)


def test_an_image_that_turns_out_damaged_when_it_is_loaded():
    stream = io.BytesIO()
    corpus.seven().save(stream, "PNG")
    with Image.open(io.BytesIO(stream.getvalue()[:200])) as image, pytest.raises(RunError, match="truncated"):
        picture.frame(image)


def test_open_files_and_streams(tmp_path, upright):
    corpus.seven().save(tmp_path / "seven.png")
    with open(tmp_path / "seven.png", "rb") as file:
        assert np.array_equal(picture.frame(file).pixels, upright)
    (tmp_path / "text.png").write_text("no picture\n")
    with open(tmp_path / "text.png", "rb") as file, pytest.raises(RunError, match=r"text\.png: must be a picture"):
        picture.frame(file)
    assert np.array_equal(picture.frame(str(tmp_path / "seven.png")).pixels, upright)


GREY = np.asarray(corpus.seven())


@settings(max_examples=100, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.sampled_from(picture.INVERT))
def test_any_pixels_are_a_framed_digit_or_blank(pixels, invert):
    found, rows = picture.frame(pixels, invert), picture.frame_rows(pixels, invert)
    parts = [part.image for line in rows.found[0].lines for part in line.parts]
    for each, notice in (((found.pixels,), found.notice), (parts, rows.notice)):
        inked = [image for image in each if image is not None]
        assert (not inked) == ("blank" in (notice or ""))
        assert all((image.shape, image.dtype) == ((28, 28), np.uint8) for image in inked)


def test_invert_sets_which_is_ink(upright):
    dark, light = GREY, 255 - GREY
    assert np.array_equal(picture.frame(dark, "no").pixels, upright)
    assert np.array_equal(picture.frame(light, "yes").pixels, upright)
    for pixels in (dark, light):
        assert np.array_equal(picture.frame(pixels, "auto").pixels, upright)
    for pixels, invert in ((dark, "yes"), (light, "no")):
        wrong = picture.frame(pixels, invert).pixels
        assert wrong is None or not np.array_equal(wrong, upright)


def test_a_digit_that_is_framed_already_stays_as_it_is(upright):
    for pixels, invert in ((upright, "auto"), (255 - upright, "auto"), (upright, "yes"), (255 - upright, "no")):
        found = picture.frame(pixels, invert)
        assert np.array_equal(found.pixels, upright)
        assert found.notice is None


@pytest.mark.real
def test_mnists_own_digits_stay_as_they_are():
    images = files.training_images(ROOT / "data")
    assert images is not None, "make test-real fetches them"
    changed = sum(not framing.is_framed(image) for image in images)
    print(f"{changed} of {len(images):,} training images would be framed anew")
    assert changed <= 6
    for image in images[:1_000]:
        if framing.is_framed(image):
            for pixels in (image, 255 - image):
                assert np.array_equal(picture.frame(pixels).pixels, image)


def test_two_digits_are_noticed():
    both = np.concatenate([GREY, np.asarray(corpus.drawn(*corpus.FOUR))], 1)
    assert picture.frame(both).notice == "2 digits? --line reads a row of them"


def test_a_row_is_read_left_to_right(read):
    row = np.concatenate([np.asarray(corpus.drawn(*digit)) for digit in (corpus.FOUR, [corpus.ONE], [corpus.SEVEN])], 1)
    assert read.line(row).text == "417"
    assert picture.frame_rows(np.zeros((50, 90), np.uint8)).notice == "blank"
