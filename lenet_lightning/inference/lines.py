"""Find the rows of digits in a grey picture: their digits framed one by one, and each row as a strip."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from lenet_lightning.inference import framing, ground, masks, ruling, sheet, strokes

STRIP = 28  # rows of a strip of pixels
TALL = 20  # of a tall digit in it

# of the picture in which ink is searched: the longest side at most, and the shorter side at least, in pixels
_SEARCH, _SHORT = 800, 100
# more pieces are texture or a page of text
_MOST_PIECES = 400
_LONGEST = 4000  # columns of a strip

# heights in parts of the usual height of a digit: of a digit, of what belongs to one, and how far that is from it
_DIGIT, _STROKE, _NEAR = 0.3, 0.1, 0.2
# in usual heights: digits of a row are nearer than this to the next, and wider than this are two
_GAP, _WIDE = 5, 1.25
# of the outline of a piece, along the border: a frame, a shadow or a table's edge has more
_ALONG = 0.35
_SIGNS = {"auto": (1, -1), "yes": (1,), "no": (-1,)}


@dataclass(frozen=True)
class Part:
    """What stands apart in a row: a digit, or some that touch.

    Attributes:
        image: (28, 28), uint8, framed as one digit.
        box: left, top, right and bottom, in pixels of the picture.
        columns: where it starts and stops in the strip.
        wide: whether it is wider than a digit.
        cut: whether the picture's border cuts it.
    """

    image: np.ndarray = field(repr=False)
    box: tuple[float, float, float, float]
    columns: tuple[float, float]
    wide: bool
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


@dataclass(frozen=True)
class _Ink:
    grey: np.ndarray
    by: float
    level: np.ndarray
    sign: int
    labels: np.ndarray
    area: np.ndarray
    boxes: np.ndarray
    border: np.ndarray  # (n,), how many pixels of each piece are at the border


def find(grey: np.ndarray, invert: str) -> list[Line]:
    """Return the rows of digits in a grey picture, top to bottom.

    Uneven light is corrected; ruled lines, boxes, specks and what runs along the border are left out.

    Args:
        grey: (height, width), uint8.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it.
    """
    ink = _ink(grey, invert)
    if ink is None:
        return []
    usual = _usual(ink)
    rows, single = _rows(ink, usual)
    lines = [_line(ink, members, dropped) for members, dropped in rows]
    return [line for line in lines if line is not None]


def _to_search(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a copy, uint8, of a size to search in, and how many pixels of the picture one of its pixels stands for."""
    image, longest, short = Image.fromarray(grey), max(grey.shape), min(grey.shape)
    if longest > _SEARCH:
        by = -(-longest // _SEARCH)
        return np.asarray(image.reduce(by)), by
    times = min(_SEARCH // longest, -(-_SHORT // short), 4)
    if times < 2:
        return grey, 1
    size = (image.width * times, image.height * times)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 1 / times


def _ink(grey: np.ndarray, invert: str) -> _Ink | None:
    small, by = _to_search(grey)
    region = sheet.found(small)
    ring = region & ~masks.eroded(region, max(1, round(0.04 * min(small.shape))))
    border = region & ~masks.eroded(region)
    level = ground.fitted(small, region, ring)
    least = 5 * ground.noise(small, level, region, strokes.LEAST_CONTRAST / 5)
    widest = strokes.WIDEST * min(small.shape) / max(small.shape)
    best, most = None, 0.0
    for sign in _SIGNS[invert]:
        above = strokes.narrow(sign * (small - level) * region, widest)
        mask = _without_frames(above > least, border)
        if not mask.any():
            continue
        mask = _without_frames(mask & (above > strokes.EDGE * strokes.full(above[mask])), border)
        energy = float(np.square(above[mask]).sum())
        if energy > most:
            best, most = (sign, mask), energy
    if best is None:
        return None
    sign, mask = best
    mask = ruling.without(mask)
    labels, area, boxes = masks.labelled(mask)
    if not len(area):
        return None
    at_border = np.bincount(labels[mask & border], minlength=len(area) + 1)[1:]
    return _Ink(grey, by, level, sign, labels, area, boxes, at_border)


def _without_frames(mask: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Return the mask without what runs along the border, and without the smallest of very many pieces."""
    labels, area, boxes = masks.labelled(mask)
    good = np.ones(len(area), bool)
    if (mask & border).any():
        outline = mask & ~masks.eroded(mask)
        around, touching = (np.bincount(labels[at], minlength=len(area) + 1)[1:] for at in (outline, mask & border))
        good = touching < _ALONG * around
        height, width = np.ptp(boxes, axis=2).T
        # a ruled line that the border cuts lengthwise
        flat = (touching > 0) & (np.maximum(width, height) > 4 * np.minimum(width, height))
        good &= ~(flat & (touching > 0.5 * np.maximum(width, height)))
    good[np.argsort(np.where(good, -area, 0), kind="stable")[_MOST_PIECES:]] = False
    return mask & np.append(False, good).take(labels)


def _usual(ink: _Ink) -> float:
    """Return the usual height of a digit in pixels: a median of the pieces, each counting by its height."""
    heights = np.ptp(ink.boxes[:, 0], axis=1)
    heights = np.sort(heights[ink.area >= 0.05 * ink.area.max()])
    return float(heights[np.searchsorted(heights.cumsum(), 0.5 * heights.sum())])


def _rows(ink: _Ink, usual: float) -> tuple[list[tuple[list[np.ndarray], int]], bool]:
    """Return the rows, each a list of digits with the pieces (indices) of each, and how many marks were left out."""
    (top, bottom), (left, right) = ink.boxes[:, 0].T, ink.boxes[:, 1].T
    height, width = bottom - top, right - left
    main = (height >= _DIGIT * usual) & ~((width > 3 * height) & (height < 0.5 * usual))
    index = np.nonzero(main)[0]
    shared = np.minimum(bottom[index, None], bottom[index]) - np.maximum(top[index, None], top[index])
    gap = np.maximum(left[index, None], left[index]) - np.minimum(right[index, None], right[index])
    linked = (shared >= 0.35 * np.minimum(height[index, None], height[index])) & (gap < _GAP * usual)
    rows = [index[members] for members in _components(linked)]
    rows = [row for row in rows if height[row].max() >= 0.5 * usual]
    taken = np.zeros(len(top), bool)
    found = []
    for row in rows:
        taken[row] = True
    rest = [piece for piece in np.nonzero(~taken)[0] if ink.area[piece] >= 0.004 * usual * usual]
    extra: dict[int, list[int]] = {}
    loose = [0] * len(rows)
    for piece in rest:
        nearest, at, among = np.inf, -1, -1
        for number, row in enumerate(rows):
            aside = np.maximum(left[row] - right[piece], left[piece] - right[row]).clip(0)
            away = np.maximum(top[row] - bottom[piece], top[piece] - bottom[row]).clip(0)
            distance = np.hypot(aside, away)
            if distance.min() < nearest:
                nearest, at, among = distance.min(), row[distance.argmin()], number
        if at < 0:
            continue
        inside = min(right[piece], right[at]) - max(left[piece], left[at]) >= 0.5 * width[piece]
        if (
            inside
            and nearest <= _NEAR * usual
            and max(height[piece], width[piece]) >= _STROKE * usual
            and not ink.border[piece]
        ):
            extra.setdefault(int(at), []).append(int(piece))
        elif nearest < usual and max(height[piece], width[piece]) >= _STROKE * usual:
            loose[among] += 1
    for number, row in enumerate(rows):
        digits = _digits(row, left, right)
        tall = float(np.median([bottom[digit].max() - top[digit].min() for digit in digits]))
        kept, dropped = [], loose[number]
        for digit in digits:
            if _is_mark(ink, digit, digits, tall):
                dropped += 1
            else:
                kept.append(np.array([*digit, *(each for piece in digit for each in extra.get(int(piece), []))]))
        if kept:
            found.append((kept, dropped))
    found.sort(key=lambda row: np.mean([ink.boxes[digit, 0].mean() for digit in row[0]]))
    return found, len(found) == 1


def _digits(row: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """Return the pieces of each digit of a row, left to right; pieces above each other are one digit."""
    shared = np.minimum(right[row, None], right[row]) - np.maximum(left[row, None], left[row])
    width = right[row] - left[row]
    together = _components(shared > 0.4 * np.minimum(width[:, None], width))
    return sorted((row[members] for members in together), key=lambda digit: left[digit].min())


def _is_mark(ink: _Ink, digit: np.ndarray, digits: list[np.ndarray], tall: float) -> bool:
    """Return whether it is a comma, a point or a dash between digits that are as tall as `tall`."""
    (top, bottom), (left, right) = ink.boxes[:, 0].T, ink.boxes[:, 1].T
    low, high, start, stop = bottom[digit].max(), top[digit].min(), left[digit].min(), right[digit].max()
    if low - high > 0.55 * tall:
        return False
    others = [other for other in digits if bottom[other].max() - top[other].min() >= 0.6 * tall]
    if not others:
        return False
    nearest = min(others, key=lambda other: max(left[other].min() - stop, start - right[other].max()))
    middle = (top[nearest].min() + bottom[nearest].max()) / 2
    return bool(high >= middle and not _has_hole(ink, digit)) or low - high < 0.25 * tall


def _has_hole(ink: _Ink, digit: np.ndarray) -> bool:
    mask = np.isin(ink.labels, digit + 1)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return len(contours) > len(digit)


def _components(linked: np.ndarray) -> list[np.ndarray]:
    """Return the groups (indices) of what a symmetric matrix (n, n), bool, links directly or through others."""
    left = np.ones(len(linked), bool)
    groups = []
    for first in range(len(linked)):
        if left[first]:
            members = np.arange(len(linked)) == first
            while (grown := members | linked[members].any(0)).sum() > members.sum():
                members = grown
            left &= ~members
            groups.append(np.nonzero(members)[0])
    return groups


def _line(ink: _Ink, digits: list[np.ndarray], dropped: int) -> Line | None:
    boxes = np.array([[ink.boxes[digit, :, 0].min(0), ink.boxes[digit, :, 1].max(0)] for digit in digits])
    heights = boxes[:, 1, 0] - boxes[:, 0, 0]
    widths = boxes[:, 1, 1] - boxes[:, 0, 1]
    middle = boxes.mean(1)  # row and column
    tall = float(min(heights.max(), 1.4 * np.median(heights)))
    usual = float(np.median(heights[heights >= 0.6 * heights.max()]))
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
    strip = cv2.warpAffine(
        blurred, back, (width, STRIP), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    )
    pixels = (255 * strip / max(strip.max(), 1e-6)).round().clip(0, 255).astype(np.uint8)
    parts = []
    for digit, box, high, wide in zip(digits, boxes, heights, widths, strict=True):
        image = framing.framed(ink.grey, ink.by, ink.level, ink.sign, np.isin(ink.labels, digit + 1))
        if image is None:
            continue
        (upper, start), (lower, stop) = box
        columns = ((start - left) * close.scale * scale, (stop - left) * close.scale * scale)
        place = tuple(float(each * ink.by) for each in (start, upper, stop, lower))
        parts.append(Part(image, place, columns, bool(wide > _WIDE * max(usual, high)), bool(ink.border[digit].any())))
    return Line(
        pixels,
        tuple(parts),
        left * ink.by,
        ink.by / (close.scale * scale),
        float(boxes[:, 0, 0].min() * ink.by),
        float(boxes[:, 1, 0].max() * ink.by),
        dropped,
    )


def _lean(middle: np.ndarray, tall: float) -> float:
    """Return by how much a row falls per pixel to the right; its digits' middles are (n, 2)."""
    if len(middle) < 3 or np.ptp(middle[:, 1]) < 2 * tall:
        return 0.0
    # the median of all pairs' slopes (Theil and Sen): digits of a row have heights of their own
    one, other = np.triu_indices(len(middle), 1)
    down, right = (middle[other] - middle[one]).T
    return float(np.median(down[right > 0.5 * tall] / right[right > 0.5 * tall]))
