"""Make a strip of a row of digits, and frame what stands apart in it."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from lenet_lightning.inference import framing, strokes

STRIP = 28  # pixels, the height of a strip
TALL = 20  # of a tall digit in it
_LONGEST = 4000  # columns of a strip
_TALLEST = 1.4  # of the usual height: what is higher is cut
# rows of a strip above and below its digits; one that is not out of it by more than the second is left where it is
_MARGIN, _SLIGHT = 2, 1


@dataclass(frozen=True)
class Ink:
    """The ink of a picture, taken apart.

    Attributes:
        grey: the picture, (height, width), uint8.
        by: how many of its pixels one of the pixels below stands for.
        level: of the background.
        sign: 1 if the ink is lighter than the background, else -1.
        labels: of the pieces, from 1; 0 is no ink.
        area: (n,), of the pieces.
        boxes: (n, 2, 2), the start and stop of each piece's rows and of its columns.
        border: (n,), how many pixels of each piece are at the border.
    """

    grey: np.ndarray
    by: float
    level: np.ndarray
    sign: int
    labels: np.ndarray
    area: np.ndarray
    boxes: np.ndarray
    border: np.ndarray


@dataclass(frozen=True)
class Part:
    """What stands apart in a row: a digit, or some that touch.

    Attributes:
        image: (28, 28), uint8, framed as one digit.
        box: left, top, right and bottom, in pixels of the picture.
        columns: where it starts and stops in the strip.
        cut: whether the picture's border cuts it.
    """

    image: np.ndarray = field(repr=False)
    box: tuple[float, float, float, float]
    columns: tuple[float, float]
    cut: bool


@dataclass(frozen=True)
class Line:
    """A row of digits.

    Attributes:
        strip: (28, width), uint8, bright on black; tall digits are 20 pixels high.
        parts: left to right.
        left: of the strip's first column, in pixels of the picture.
        step: pixels of the picture per column.
        top: of its ink.
        bottom: the same.
        dropped: how many marks beside the digits were left out.
    """

    strip: np.ndarray = field(repr=False)
    parts: tuple[Part, ...]
    left: float
    step: float
    top: float
    bottom: float
    dropped: int


def line(ink: Ink, digits: list[np.ndarray], dropped: int) -> Line | None:
    """Return a row, or None if its ink is too faint.

    Args:
        ink: of the picture.
        digits: the pieces (indices) of each, left to right.
        dropped: how many marks beside them were left out.
    """
    boxes = np.array([[ink.boxes[digit, :, 0].min(0), ink.boxes[digit, :, 1].max(0)] for digit in digits])
    heights = boxes[:, 1, 0] - boxes[:, 0, 0]
    middle = boxes.mean(1)  # row and column
    tall = min(float(heights.max()), _TALLEST * usual(heights))
    mask = np.isin(ink.labels, np.concatenate(digits) + 1)
    close = strokes.close_up(ink.grey, ink.by, ink.level, ink.sign, mask, tall)
    if not close.strength.any():
        return None
    lean = _lean(middle, tall)
    strength = strokes.thick(close.strength)
    pad = (strength.shape[0] - close.strength.shape[0]) // 2
    top, left = close.top - pad / close.scale, close.left - pad / close.scale
    # a close-up's point (x, y) is, in the picture searched, (left + x / scale, top + y / scale)
    centre = float(np.median(middle[:, 0] - lean * (middle[:, 1] - middle[0, 1])))  # at the first digit
    scale = TALL / tall / close.scale
    width = min(_LONGEST, max(8, round(strength.shape[1] * scale)))
    across = (middle[0, 1] - left) * close.scale  # of the first digit in the close-up
    # from the strip's pixels to the close-up's
    back = np.array(
        [
            [1 / scale, 0, 0.5 / scale - 0.5],
            [lean / scale, 1 / scale, (centre - top) * close.scale - lean * across - STRIP / 2 / scale],
        ]
    )
    blurred = cv2.GaussianBlur(strength, (0, 0), max(0.1, 0.35 / scale))
    strip = _seen(blurred, back, width)
    to_picture = back / close.scale + [[0, 0, left], [0, 0, top]]
    for digit, box, (_, column) in zip(digits, boxes, middle, strict=True):
        upper, lower = (box[:, 0] - centre - lean * (column - middle[0, 1])) * close.scale * scale + STRIP / 2
        down = _down(upper, lower)
        if abs(down) > _SLIGHT:
            own = cv2.dilate(np.isin(ink.labels, digit + 1).astype(np.float32), np.ones((3, 3)))
            strip *= 1 - _seen(own, to_picture, width)
            alone = _seen(blurred, _moved(back, down), width) * _seen(own, _moved(to_picture, down), width)
            strip = np.maximum(strip, alone)
    pixels = (255 * strip / max(strip.max(), 1e-6)).round().clip(0, 255).astype(np.uint8)
    parts = []
    for digit, box in zip(digits, boxes, strict=True):
        image = framing.framed(ink.grey, ink.by, ink.level, ink.sign, np.isin(ink.labels, digit + 1))
        if image is None:
            continue
        (upper, start), (lower, stop) = box
        columns = (float((start - left) * close.scale * scale), float((stop - left) * close.scale * scale))
        place = (float(start * ink.by), float(upper * ink.by), float(stop * ink.by), float(lower * ink.by))
        parts.append(Part(image, place, columns, bool(ink.border[digit].any())))
    return Line(
        pixels,
        tuple(parts),
        float(left * ink.by),
        ink.by / (close.scale * scale),
        float(boxes[:, 0, 0].min() * ink.by),
        float(boxes[:, 1, 0].max() * ink.by),
        dropped,
    )


def _seen(image: np.ndarray, from_strip: np.ndarray, width: int) -> np.ndarray:
    """Return a strip of an image, (28, width), by the affine map (2, 3) of the strip's points to the image's."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, from_strip, (width, STRIP), flags=flags, borderMode=cv2.BORDER_CONSTANT))


def _down(upper: float, lower: float) -> float:
    """Return by how many rows a digit must be moved down, below 0 up, to be whole in a strip."""
    if lower - upper > STRIP - 2 * _MARGIN:
        return (STRIP - upper - lower) / 2
    return max(0.0, _MARGIN - upper) + min(0.0, STRIP - _MARGIN - lower)


def _moved(from_strip: np.ndarray, down: float) -> np.ndarray:
    return from_strip - np.array([[0, 0, from_strip[0, 1]], [0, 0, from_strip[1, 1]]]) * down


def usual(heights: np.ndarray) -> float:
    """Return the median of heights (n,), each counting by itself: specks and low zeros hardly count."""
    ordered = np.sort(heights)
    return float(ordered[np.searchsorted(ordered.cumsum(), 0.5 * ordered.sum())])


def _lean(middle: np.ndarray, tall: float) -> float:
    """Return by how much a row falls per pixel to the right; its digits' middles are (n, 2)."""
    if len(middle) < 3 or np.ptp(middle[:, 1]) < 2 * tall:
        return 0.0
    # the median of all pairs' slopes (Theil and Sen): digits of a row have heights of their own
    one, other = np.triu_indices(len(middle), 1)
    down, right = (middle[other] - middle[one]).T
    return float(np.median(down[right > 0.5 * tall] / right[right > 0.5 * tall]))
