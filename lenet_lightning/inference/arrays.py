"""Take an array, a tensor or a list for one picture, whatever library it comes from."""

from typing import Any

import numpy as np
from PIL import Image

from lenet_lightning.errors import UsageError, one_line
from lenet_lightning.inference import framing

_SIDE = 28  # of MNIST's images, whose rows of 784 numbers Kaggle has
_PIXELS = _SIDE * _SIDE
_COLOURS = (2, 3, 4)  # grey and alpha, red, green and blue, these and alpha
_FEW = 10  # rows that tell a table of images from a picture
_SLACK = 0.01  # what resizing may add to a range of 0 to 1


def is_array(value: object) -> bool:
    """Return whether `value` is an array, a tensor, a table or a list of numbers."""
    return isinstance(value, list | tuple) or hasattr(value, "__array__")


def as_image(value: Any) -> Image.Image:
    """Return the picture that an array holds.

    Args:
        value: (height, width), with 1 to 4 colours as its first or last axis, with an axis of length 1 before that, or
            784 numbers in a row. Colours as floats are from 0 to 1 or from 0 to 255.

    Raises:
        UsageError: it is empty, of another shape or type, or holds several pictures.
    """
    array = _numbers(value)
    pixels = _one(array)
    if pixels.ndim == 3:
        return Image.fromarray(_bytes(pixels, array))
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return Image.fromarray(pixels.astype(np.float32))


def _numbers(value: Any) -> np.ndarray:
    try:
        if hasattr(value, "detach"):  # a tensor; torch need not be imported to know it
            value = value.detach().cpu()
            # NumPy has no bfloat16
            value = value.float() if value.is_floating_point() else value
        array = np.asarray(value)
    # torch and NumPy each have errors of their own for what has no numbers, or rows of unequal length
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"an array must be numbers in rows of equal length: {one_line(error, 100)}") from error
    if array.dtype.kind not in "buif":
        raise UsageError(
            f"an array of shape {array.shape} must hold numbers or bool, got {array.dtype}; "
            "convert it, and pass pictures one at a time"
        )
    return array


def _one(array: np.ndarray) -> np.ndarray:
    """Return the array as (height, width) or (height, width, 2 to 4)."""
    pixels = array
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.size == _PIXELS and sorted(pixels.shape)[:-1] in ([], [1]):
        return pixels.reshape(_SIDE, _SIDE)
    if count := _several(pixels):
        colour = f", or colours last: (28, 28, {count})" if pixels.ndim == 3 and count in _COLOURS else ""
        raise UsageError(
            f"an array must be one picture, got {count:,} in {array.shape}; pass each: "
            f"[recognizer(picture) for picture in pictures]{colour}"
        )
    if pixels.size and pixels.ndim == 3:
        first, _, last = pixels.shape
        if last == 1:
            return pixels[:, :, 0]
        if first == 1 and last not in _COLOURS:  # as torchvision's data sets return it
            return pixels[0]
        if last not in _COLOURS and first in _COLOURS:  # as torchvision reads it
            return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    if not pixels.size or pixels.ndim not in (2, 3) or pixels.shape[2:3] not in ((), *((each,) for each in _COLOURS)):
        raise UsageError(
            "an array must be (height, width), (height, width, 1 to 4), (1 to 4, height, width) or 784 numbers, "
            f"not empty, got {array.shape}{_label(pixels)}"
        )
    return pixels


def _several(pixels: np.ndarray) -> int:
    """Return how many pictures the array holds, if it is more than one."""
    shape = pixels.shape
    if pixels.ndim == 4:
        return shape[0]
    # three images of MNIST, or one in colour whose channels are alike
    if shape[1:] == (_SIDE, _SIDE) and shape[0] > 1 and (shape[0] not in _COLOURS or (pixels != pixels[0]).any()):
        return shape[0]
    if pixels.ndim == 2 and shape[1] == _PIXELS and shape[0] > 1:
        images = pixels[:_FEW].reshape(-1, _SIDE, _SIDE)
        # a picture may be 784 wide, but its rows are not framed digits; of MNIST's own, some are not
        if 2 * sum(map(_is_framed, images)) > len(images):
            return shape[0]
    return 0


def _is_framed(image: np.ndarray) -> bool:
    low, high = float(image.min()), float(image.max())
    if not np.isfinite((low, high)).all() or low == high:
        return False
    ink = np.rint((image.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
    return framing.is_framed(ink) or framing.is_framed(255 - ink)


def _label(pixels: np.ndarray) -> str:
    return "; drop the label, which is no pixel" if pixels.shape[-1:] == (_PIXELS + 1,) else ""


def _bytes(pixels: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Return colours as bytes."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    scale = 255 if pixels.dtype == bool or (pixels.dtype.kind == "f" and high <= 1 + _SLACK) else 1
    # NaN fails both
    if not (low * scale >= -255 * _SLACK and high * scale <= 255 * (1 + _SLACK)):
        raise UsageError(
            f"an array of shape {array.shape} must hold colours from 0 to 1 or from 0 to 255, "
            f"got {low:g} to {high:g}; undo the normalisation"
        )
    return np.rint(pixels * float(scale)).clip(0, 255).astype(np.uint8)
