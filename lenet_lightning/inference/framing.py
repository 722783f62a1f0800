"""Find the digit in a grey picture and frame it as MNIST does.

MNIST's digits were cut out of their forms, fitted into 20 x 20 pixels with their proportions kept, and put into 28 x 28
so that their centre of mass is in the middle (LeCun et al. 1998, section III.A).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from lenet_lightning.inference import ground, masks, sheet, strokes

SIDE = 28  # of the image
BOX = 20  # that the digit is fitted into
CENTRE = 14  # the row and the column that hold the centre of mass of MNIST's digits

# of the picture in which ink is searched: the longest side, in pixels
_SEARCH = 400

# more pieces are texture or noise; grouping them would take minutes
_MOST_PIECES = 200
# of the outline of a piece, along the border: a frame, a shadow or a table's edge has more
_ALONG = 0.35
# of its height: a digit is not so wide
_WIDE = 1.6


def is_framed(ink: np.ndarray) -> bool:
    """Return whether an image (height, width), uint8, bright on black, is already framed as MNIST frames digits."""
    if ink.shape != (SIDE, SIDE) or not (inked := ink > 16).any():
        return False
    longest = max(np.ptp(np.nonzero(inked.any(axis))[0]) + 1 for axis in (0, 1))
    off_centre = np.abs(np.subtract(_centre(ink), CENTRE)).max()
    return bool(BOX - 1 <= longest <= BOX and off_centre < 0.6)


@dataclass(frozen=True)
class Found:
    """The digit found in a picture.

    Attributes:
        digit: an image (28, 28), uint8, bright on black; None if the picture is blank.
        apart: how many separate digits there seem to be.
        wide: whether it is wider than digits are.
    """

    digit: np.ndarray | None
    apart: int
    wide: bool


def find(grey: np.ndarray, invert: str) -> Found:
    """Return the digit in a grey picture.

    Uneven light is corrected; specks and anything along the border of the picture or of a sheet in it are ignored.

    Args:
        grey: (height, width), uint8.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it.
    """
    small, by = _to_search(grey)
    region = sheet.found(small)
    ring = region & ~masks.eroded(region, max(1, round(0.04 * max(small.shape))))
    border = region & ~masks.eroded(region)
    # further tries if nothing is found: a shadow's edge may cross the ink, or the ink may fill the ring
    for start, widest in ((ring, strokes.WIDEST), (ring, strokes.WIDEST / 3), (region, strokes.WIDEST)):
        level = ground.fitted(small, region, start)
        least = 5 * ground.noise(small, level, region, strokes.LEAST_CONTRAST / 5)
        above = (small - level) * region
        inks = {sign: strokes.narrow(sign * above, widest) for sign in strokes.SIGNS[invert]}
        pieces = {sign: _pieces(ink, border, least) for sign, ink in inks.items()}
        sign = max(inks, key=lambda sign: np.square(inks[sign][pieces[sign]]).sum())
        if pieces[sign].any():
            break
    labels, area, boxes = masks.labelled(pieces[sign])
    digit = _together(area, boxes, max(small.shape))
    if digit is None:
        return Found(None, 0, False)
    height, width = (_extent(boxes[digit], axis) for axis in (0, 1))
    apart = _count(inks[sign], pieces[sign], border, least, max(height, width))
    image = framed(grey, by, level, sign, np.append(False, digit).take(labels))
    return Found(image, apart, width > _WIDE * height)


def _count(ink: np.ndarray, pieces: np.ndarray, border: np.ndarray, least: float, size: int) -> int:
    """Return how many digits there seem to be, those at the border, too, beside or above each other.

    Args:
        ink: (height, width).
        pieces: mask (bool) of those that may belong to the one digit.
        border: mask (bool) of the region's border.
        least: strength of ink.
        size: the longer side of the one digit.
    """
    mask = (ink > least) & (ink > strokes.EDGE * strokes.full(ink[pieces]))
    labels, area, boxes = masks.labelled(mask)
    around, touching = masks.outlines(mask, labels, border, len(area))
    boxes = boxes[(touching < _ALONG * around) & (np.ptp(boxes, axis=2).max(1) >= 0.4 * size)]
    if not 1 < len(boxes) <= _MOST_PIECES:
        return 1
    top, bottom = boxes[boxes[:, 0, 0].argsort(), 0].T
    above = 1 + np.count_nonzero(top[1:] > np.maximum.accumulate(bottom)[:-1] + 0.2 * size)
    return max(len(_apart(boxes)), int(above))


def _pieces(ink: np.ndarray, border: np.ndarray, least: float) -> np.ndarray:
    """Return the mask (bool) of the ink, more than `least`, and without what runs along the region's border (bool)."""
    mask = ink > least
    if not mask.any():
        return mask
    for edge in (strokes.EDGE, 0):
        labels, area, boxes = masks.labelled(mask)
        good = np.ones(len(area), bool)
        if (mask & border).any():
            around, touching = masks.outlines(mask, labels, border, len(area))
            # a table's edge, a shadow or a binding runs along the border; a digit at most touches it
            good = touching < _ALONG * around
            if good.any() and area[good & (touching == 0)].max(initial=0) >= 0.1 * area[good].max():
                good &= touching == 0
            if not good.any():
                # a digit that fills the picture
                filling = (np.diff(boxes)[..., 0] > 0.9 * np.array(mask.shape)).all(1)
                good = (touching < 0.7 * border.sum()) & filling
        good[np.argsort(np.where(good, -area, 0), kind="stable")[_MOST_PIECES:]] = False
        mask &= np.append(False, good).take(labels)
        if not (edge and mask.any()):
            break
        mask &= ink > edge * strokes.full(ink[mask])
    return mask


def _to_search(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a copy, uint8, of a size to search in, and how many pixels of the picture one of its pixels stands for."""
    image, longest = Image.fromarray(grey), max(grey.shape)
    if longest > _SEARCH:
        by = -(-longest // _SEARCH)
        return np.asarray(image.reduce(by)), by
    times = _SEARCH // 4 // longest
    if times < 2:
        return grey, 1
    size = (image.width * times, image.height * times)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 1 / times


def _together(area: np.ndarray, boxes: np.ndarray, longest: int) -> np.ndarray | None:
    """Return the pieces (n,), bool, of the one digit: the largest piece and those near it, or near those; or None."""
    if not len(area):
        return None
    main = area.argmax()
    digit = np.arange(len(area)) == main
    if len(area) > 1:
        apart = (boxes[:, None, :, 0] - boxes[None, :, :, 1]).max(2)
        near = np.maximum(apart, apart.T) < 0.4 * np.ptp(boxes[main], axis=1).max()
        digit = _grown(digit, near & (area >= 0.03 * area[main]))
    # anything smaller is a speck on a blank sheet
    return digit if max(_extent(boxes[digit], axis) for axis in (0, 1)) >= max(4, 0.015 * longest) else None


def _apart(boxes: np.ndarray) -> list[np.ndarray]:
    """Return the pieces (n,), bool, of each digit of a row, left to right; pieces above each other are one digit."""
    if len(boxes) < 2:
        return list(np.ones((len(boxes), 1), bool))
    start, stop = boxes[:, 1].T
    shared = np.minimum(stop[:, None], stop) - np.maximum(start[:, None], start)
    together = shared > 0.4 * np.minimum((stop - start)[:, None], stop - start)
    digits, left = [], np.ones(len(boxes), bool)
    for piece in range(len(boxes)):
        if left[piece]:
            digit = _grown(np.arange(len(boxes)) == piece, together)
            left &= ~digit
            digits.append(digit)
    heights = [_extent(boxes[digit], 0) for digit in digits]
    digits = [digit for digit, height in zip(digits, heights, strict=True) if height >= 0.4 * max(heights)]
    return sorted(digits, key=lambda digit: start[digit].min())


def _extent(boxes: np.ndarray, axis: int) -> int:
    """Return the length of what some pieces take together, of rows or of columns."""
    return boxes[:, axis, 1].max() - boxes[:, axis, 0].min()


def _grown(members: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Return the members (n,) and all that `linked` (n, n) connects with them, directly or through others."""
    while (grown := members | linked[members].any(0)).sum() > members.sum():
        members = grown
    return members


def framed(grey: np.ndarray, by: float, level: np.ndarray, sign: int, mask: np.ndarray) -> np.ndarray | None:
    """Return the ink in the mask as the image, (28, 28), uint8, of one digit; None if there is none.

    Arguments are those of `strokes.close_up`.
    """
    _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
    close = strokes.close_up(grey, by, level, sign, mask, max(width, height))
    return fitted(close.strength) if close.strength.any() else None


def fitted(strength: np.ndarray) -> np.ndarray:
    """Fit a close-up into the box and move its centre of mass to the middle; return (28, 28), uint8."""
    strength = strokes.thick(strength)
    left, top, width, height = cv2.boundingRect((strength > 0.5).view(np.uint8))
    scale = BOX / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    box = (left, top, left + width, top + height)
    digit = np.asarray(Image.fromarray(strength).resize(size, Image.Resampling.BOX, box))
    y, x = _centre(digit)
    top = min(max(0, CENTRE - round(y)), SIDE - digit.shape[0])
    left = min(max(0, CENTRE - round(x)), SIDE - digit.shape[1])
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = (digit * (255 / digit.max())).round()
    return image


def _centre(image: np.ndarray) -> tuple[float, float]:
    """Return the row and the column of the centre of mass."""
    # not OpenCV's moments: it takes an image of two columns for a list of points
    rows, columns = image.sum(1, dtype=np.float64), image.sum(0, dtype=np.float64)
    return np.arange(len(rows)) @ rows / rows.sum(), np.arange(len(columns)) @ columns / columns.sum()
