"""Laws of arrays: whatever holds one picture is read as its file would be; anything else is refused with what to do."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import picture
from tests.inference import corpus


@pytest.fixture(scope="module")
def upright():
    return picture.frame(corpus.seven()).pixels


@pytest.fixture(scope="module")
def framed(upright):
    """Three different digits as MNIST has them, (3, 28, 28)."""
    return np.stack([upright, *(picture.frame(corpus.drawn(*each)).pixels for each in (corpus.FOUR, [corpus.ONE]))])


GREY = np.asarray(corpus.seven())
ARRAYS = {
    "grey": GREY,
    "grey with a channel": GREY[:, :, None],
    "colour": np.stack([GREY] * 3, -1),
    "with alpha": np.stack([GREY] * 3 + [np.full_like(GREY, 255)], -1),
    "grey with alpha": np.stack([GREY * 0, 255 - GREY], -1),
    "bool": GREY > 127,
    "bool colour": np.stack([GREY > 127] * 3, -1),
    "float to 1": GREY / 255,
    "float to 1 with a channel": (GREY / 255)[:, :, None],
    "half": (GREY / 255).astype(np.float16),
    "float below zero": GREY / 255 - 7,
    "large float": GREY * 1e35,
    "16 bit": GREY.astype(np.uint16) * 3,
    "64 bit": GREY.astype(np.int64) * 10**12,
    "colour as floats to 1, as plt.imread has it": np.stack([GREY / 255] * 3, -1),
    "colour as floats to 255": np.stack([GREY.astype(np.float32)] * 3, -1),
    "colour resized a little over 1": np.stack([GREY / 255 * 1.004] * 3, -1),
    "colour as integers": np.stack([GREY.astype(np.int64)] * 3, -1),
    "colours first, as torchvision reads it": np.stack([GREY] * 3),
    "colours first, as ToTensor has it": np.stack([GREY / 255] * 3).astype(np.float32),
    "batch of one": (GREY / 255)[None, None],
    "batch of one in colour": np.stack([GREY] * 3, -1)[None],
    "not in a row": np.repeat(GREY, 2, 1)[:, ::2],
    "read only": np.frombuffer(GREY.tobytes(), np.uint8).reshape(GREY.shape),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(upright, kind):
    before = ARRAYS[kind].copy()
    assert np.abs(picture.frame(ARRAYS[kind]).pixels.astype(float) - upright).mean() < 1
    assert np.array_equal(ARRAYS[kind], before)


SAME = {
    "tensor as torchvision's data sets return it": lambda pixels: torch.from_numpy(pixels)[None].float() / 255,
    "tensor that requires grad": lambda pixels: (torch.from_numpy(pixels).float() / 255).requires_grad_(),
    "bfloat16": lambda pixels: torch.from_numpy(pixels).bfloat16(),
    "batch of one": lambda pixels: torch.from_numpy(pixels)[None, None],
    "colour": lambda pixels: torch.from_numpy(pixels).expand(3, 28, 28),
    "784 in a row": np.ravel,
    "one row of 784": lambda pixels: pixels.reshape(1, 784) / 255,
    "one column of 784": lambda pixels: pixels.reshape(784, 1),
    "list of lists": np.ndarray.tolist,
    "tuple of arrays": tuple,
    "list of one picture": lambda pixels: [pixels],
    "white ink in the alpha alone": lambda pixels: np.dstack([np.full((28, 28, 3), 255, np.uint8), pixels]),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_framed_digit_is_kept_in_whatever_it_comes(framed, kind):
    for pixels in framed:
        assert np.array_equal(picture.frame(SAME[kind](pixels)).pixels, pixels)


def test_the_bytes_of_a_file_are_the_file(upright):
    stream = io.BytesIO()
    corpus.seven().save(stream, "PNG")
    for kind in (bytes, bytearray, memoryview):
        assert np.array_equal(picture.frame(kind(stream.getvalue())).pixels, upright)
    with pytest.raises(RunError, match="the picture: must be a picture"):
        picture.frame(b"no picture")


MANY = {
    "(N, 28, 28)": lambda framed: framed,
    "(N, 1, 28, 28)": lambda framed: torch.from_numpy(framed)[:, None] / 255,
    "(N, 28, 28, 1)": lambda framed: framed[..., None],
    "(N, 784)": lambda framed: framed.reshape(3, 784),
    "(N, 784), dark ink": lambda framed: 1 - framed.reshape(3, 784) / 255,
    "list of pictures": list,
}


@pytest.mark.parametrize("kind", MANY)
def test_several_pictures_are_counted_and_refused(framed, kind):
    for frame in (picture.frame, picture.frame_rows):
        with pytest.raises(UsageError, match=r"must be one picture, got 3 in .*; pass each: \[recognizer"):
            frame(MANY[kind](framed))


def test_a_picture_784_pixels_wide_is_a_picture(upright):
    wide = np.full((300, 784), 255, np.uint8)
    wide[50:250, 300:500] = GREY
    assert np.abs(picture.frame(wide).pixels.astype(float) - upright).mean() < 2


NO_PICTURES = {
    "nothing": None,
    "a number": 5,
    "a list of names": ["a.png", "b.png"],
    "rows of unequal length": [[1, 2], [3]],
    "a dict": {"picture": 1},
    "sparse": torch.zeros(28, 28).to_sparse(),
    "on no device": torch.zeros(28, 28, device="meta"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_a_usage_error_of_one_line(kind):
    with pytest.raises(UsageError, match=r"^(a picture|an array).* must (be|hold) ") as refused:
        picture.frame(NO_PICTURES[kind])
    assert "\n" not in str(refused.value)


def test_a_row_with_its_label_is_told_to_drop_it():
    with pytest.raises(UsageError, match="drop the label"):
        picture.frame(np.zeros(785))


@pytest.mark.parametrize(
    "shape", [(), (0,), (5,), (785,), (0, 5), (5, 0), (5, 5, 0), (5, 5, 5), (0, 1, 28, 28), (1, 1, 5, 5, 5)]
)
def test_an_array_of_another_shape_is_a_usage_error(shape):
    with pytest.raises(UsageError, match=r"an array must be .*, got \("):
        picture.frame(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "array", [GREY.astype(complex), GREY.astype(str), GREY.astype(object), np.stack([GREY / 255 - 7] * 3)]
)
def test_an_array_of_another_type_is_a_usage_error(array):
    with pytest.raises(UsageError, match=r"must hold .* got"):
        picture.frame(array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_an_array_that_is_not_finite_is_a_run_error(value):
    pixels = GREY / 255
    pixels[0, 0] = value
    with pytest.raises(RunError, match="the picture: cannot be read: it has pixels that are not finite numbers"):
        picture.frame(pixels)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        arrays(kind, array_shapes(min_dims=0, max_dims=5, max_side=30))
        for kind in (np.uint8, np.bool_, np.float32, np.int64)
    )
)
def test_any_array_is_framed_blank_or_refused(pixels):
    try:
        found = picture.frame(pixels)
    except (UsageError, RunError) as error:
        assert str(error).startswith(("an array must ", "an array of shape ", "the picture: "))
    else:
        assert (found.pixels is None) == ("blank" in (found.notice or ""))
