"""Find the rows of digits in a grey picture."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from lenet_lightning.inference import ground, masks, ruling, sheet, strips, strokes
from lenet_lightning.inference.strips import Ink, Line

# of the picture in which ink is searched: the longest side at most, and the shorter side at least, in pixels
_SEARCH, _SHORT = 800, 100
# more pieces are texture or a page of text
_MOST_PIECES = 400

# heights in parts of the usual height of a digit: of a digit, of what belongs to one, and how far that is from it
_DIGIT, _STROKE, _NEAR = 0.3, 0.1, 0.2
# in usual heights: digits of a row are nearer than this to the next
_GAP = 5
# in widths of the usual stroke: what is more solid than this is no stroke
_SOLID = 3.5
_SPECK = 0.01  # of all ink: a piece that is smaller is none of the strokes that are measured
# of the outline of a piece, along the border: a frame, a shadow or a table's edge has more
_ALONG = 0.35


@dataclass(frozen=True)
class Found:
    """The rows found in a picture, or in the picture turned.

    Attributes:
        lines: top to bottom; none if the picture is blank.
        turned: by how many quarters the picture was turned to the left before.
        size: (width, height) of the picture before, in pixels.
        crowded: whether there were so many marks that the smaller ones were not looked at.
    """

    lines: tuple[Line, ...]
    turned: int
    size: tuple[int, int]
    crowded: bool

    def place(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return a box (left, top, right, bottom) of the turned picture as one of the picture before."""
        left, top, right, bottom = box
        width, height = self.size
        if self.turned == 1:
            return width - bottom, left, width - top, right
        if self.turned == 3:
            return top, height - right, bottom, height - left
        return box


def find(grey: np.ndarray, invert: str) -> list[Found]:
    """Return the rows of digits in a grey picture; if it may lie on its side, also those of the two turned pictures.

    Uneven light is corrected; ruled lines, boxes, specks and what runs along the border are left out.

    Args:
        grey: (height, width), uint8.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it.
    """
    found = [_upright(grey, invert, 0)]
    # a row on its side is digits one above the other
    if len(found[0].lines) > 1:
        found += [_upright(grey, invert, turns) for turns in (1, 3)]
    return found


def _upright(grey: np.ndarray, invert: str, turns: int) -> Found:
    size = (grey.shape[1], grey.shape[0])
    ink = _ink(np.ascontiguousarray(np.rot90(grey, turns)), invert)
    if ink is None:
        return Found((), turns, size, False)
    lines = [strips.line(ink, digits, dropped) for digits, dropped in _rows(ink, _usual(ink))]
    whole = tuple(line for line in lines if line is not None and line.parts)
    return Found(whole, turns, size, len(ink.area) >= _MOST_PIECES)


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


def _ink(grey: np.ndarray, invert: str) -> Ink | None:
    small, by = _to_search(grey)
    region = sheet.found(small)
    ring = region & ~masks.eroded(region, max(1, round(0.04 * min(small.shape))))
    border = region & ~masks.eroded(region)
    level = ground.fitted(small, region, ring)
    least = 5 * ground.noise(small, level, region, strokes.LEAST_CONTRAST / 5)
    best, most = None, 0.0
    for sign in strokes.SIGNS[invert]:
        above = sign * (small - level) * region
        if least > strokes.LEAST_CONTRAST:  # grain would part the strokes
            above = cv2.GaussianBlur(above, (0, 0), 1)
        mask, above = _lines_of(above, least, strokes.WIDEST * min(small.shape), border)
        usual, most_solid = _widths(mask)
        if most_solid > _SOLID * usual:
            # the edge of a hard shadow, or a stain
            mask, above = _lines_of(above, least, _SOLID * usual, border)
        if not mask.any():
            continue
        energy = float(np.square(above[mask]).sum())
        if energy > most:
            best, most = (sign, mask), energy
    if best is None:
        return None
    sign, mask = best
    labels, area, boxes = masks.labelled(mask)
    if not len(area):
        return None
    at_border = np.bincount(labels[mask & border], minlength=len(area) + 1)[1:]
    return Ink(grey, by, level, sign, labels, area, boxes, at_border)


def _lines_of(above: np.ndarray, least: float, widest: float, border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where (bool) there is ink that is at most `widest` pixels wide, and how far it is over its background."""
    above = strokes.narrow(above, widest / max(above.shape))
    # a faint line is whole here, and in pieces below
    mask = ruling.without(above > least)
    if (inner := _without_frames(mask, border)).any():
        # shade at the border may join a digit here, and not where the ink is strong
        mask = _without_frames(mask & (above > strokes.EDGE * strokes.full(above[inner])), border)
    else:
        mask = inner
    return ruling.without(mask), above


def _widths(mask: np.ndarray) -> tuple[float, float]:
    """Return how wide strokes usually are, and the diameter of the largest disc of ink; zeros if there is no ink."""
    labels, area, _ = masks.labelled(mask)
    mask = np.append(False, area >= _SPECK * area.sum()).take(labels)  # the noise of paper would count as thin strokes
    inside = cv2.distanceTransform(np.pad(mask.view(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ridge = inside[(inside > 0.5) & (inside >= cv2.dilate(inside, np.ones((3, 3), np.uint8)))]
    return (2 * float(np.median(ridge)), 2 * float(ridge.max())) if len(ridge) else (0.0, 0.0)


def _without_frames(mask: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Return the mask without what runs along the border, and without the smallest of very many pieces."""
    labels, area, boxes = masks.labelled(mask)
    good = np.ones(len(area), bool)
    if (mask & border).any():
        around, touching = masks.outlines(mask, labels, border, len(area))
        good = touching < _ALONG * around
        height, width = np.ptp(boxes, axis=2).T
        # a ruled line that the border cuts lengthwise
        flat = (touching > 0) & (np.maximum(width, height) > 4 * np.minimum(width, height))
        good &= ~(flat & (touching > 0.5 * np.maximum(width, height)))
    good[np.argsort(np.where(good, -area, 0), kind="stable")[_MOST_PIECES:]] = False
    return mask & np.append(False, good).take(labels)


def _usual(ink: Ink) -> float:
    """Return the usual height of a digit in pixels."""
    heights = np.ptp(ink.boxes[:, 0], axis=1)
    return strips.usual(heights[ink.area >= 0.05 * ink.area.max()])


def _rows(ink: Ink, usual: float) -> list[tuple[list[np.ndarray], int]]:
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
    return found


def _digits(row: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """Return the pieces of each digit of a row, left to right; pieces above each other are one digit."""
    shared = np.minimum(right[row, None], right[row]) - np.maximum(left[row, None], left[row])
    width = right[row] - left[row]
    together = _components(shared > 0.4 * np.minimum(width[:, None], width))
    return sorted((row[members] for members in together), key=lambda digit: left[digit].min())


def _is_mark(ink: Ink, digit: np.ndarray, digits: list[np.ndarray], tall: float) -> bool:
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


def _has_hole(ink: Ink, digit: np.ndarray) -> bool:
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
