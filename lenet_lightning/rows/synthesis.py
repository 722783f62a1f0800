"""Rows made of single digits, as one writer would write them; a row is a function of its seed alone."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray

from lenet_lightning.rows import paper
from lenet_lightning.rows.network import HEIGHT
from lenet_lightning.rows.style import Mixture, Style

Pixels = NDArray[np.uint8]

CANVAS = 44  # columns in which a digit is drawn: slanted and large ones are wider than 28
INK = 64  # a pixel of at least this much is ink, where gaps are measured
MARGIN = 8  # columns of paper on each side of a row that is as wide as its digits
EDGE = 2  # columns that a row of a given width keeps free
FEWEST = 4  # columns from the middle of one digit to that of the next, however they overlap
FAR = 1_000.0


class Writer:
    """Writes rows with the digits of a set.

    Args:
        images: (N, 28, 28), ink bright.
        labels: (N,), 0 to 9.
    """

    def __init__(self, images: Pixels, labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def row(self, styles: Mixture, seed: SeedSequence, width: int | None = None) -> tuple[Pixels, list[int]]:
        """Return a row (28, W), ink bright, and its digits from left to right.

        Args:
            styles: how it looks: one of these, by their shares, which add up to 1.
            seed: what it is a function of.
            width: W, so that digits that do not fit are left out; None: as wide as its digits and margins of 8 columns.
        """
        draw = np.random.Generator(np.random.PCG64(seed))
        at, share = 0, draw.random()
        while at < len(styles) - 1 and share >= styles[at][0]:
            share -= styles[at][0]
            at += 1
        style = styles[at][1]
        line = self._written(style, draw, width)
        return paper.used(line.strip(width, draw), style, draw), line.digits

    def _written(self, style: Style, draw: Generator, width: int | None) -> "Line":
        fewest, most = style.digits
        count = 0 if draw.random() < style.empty else int(draw.integers(fewest, most + 1))
        chosen = draw.integers(len(self.labels), size=count)
        size, slant, drift, gap = (draw.uniform(*each) for each in (style.size, style.slant, style.drift, style.gap))
        # of each digit: size, width for its height, slant, turn, height on the line, gap
        own = draw.uniform(-1, 1, size=(count, 6))
        along = np.arange(count) / max(count - 1, 1) - 0.5
        line = Line()
        for at, each in enumerate(own):
            ink = drawn(
                self.images[chosen[at]],
                size * (1 + style.size_spread * each[0]),
                1 + style.size_spread * each[1] / 2,
                slant + style.slant_spread * each[2],
                style.turn * each[3],
                drift * along[at] + style.height_spread * each[4],
            )
            room = None if width is None else width - EDGE
            if not line.add(ink, int(self.labels[chosen[at]]), gap, style.gap_spread * each[5], room):
                break
        return line


@dataclass
class Line:
    """Digits that are written one after the other, from column 0 on.

    Attributes:
        digits: what they are.
    """

    digits: list[int] = field(default_factory=list)
    _inks: list[Pixels] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)
    _middle: float = -FAR  # of the last digit
    # the last column of ink in each line of pixels
    _right: NDArray[np.float64] = field(default_factory=lambda: np.full(HEIGHT, -FAR))

    def add(self, ink: Pixels, digit: int, gap: float, deviation: float, room: int | None) -> bool:
        """Write a digit after the others; return whether there was room for it.

        Args:
            ink: (28, 44), the digit; nothing is written of one without ink.
            digit: which it is.
            gap: columns from the ink of the others to its own where they are nearest; below 0 they overlap.
            deviation: added to it where they are side by side.
            room: columns of the row; None: any number.
        """
        written = ink >= INK
        columns = np.flatnonzero(written.any(0))
        if not len(columns):
            return True
        lines = written.any(1)
        first, last = int(columns[0]), int(columns[-1])
        place = -first
        if self._inks:
            left = np.where(lines, written.argmax(1), FAR)
            between = (_near(left, np.minimum) - _near(self._right, np.maximum)).min()
            place = round(gap + deviation + 1 - between)
            if between >= FAR / 2:  # one is above the other: they share no line
                place = round(self._right.max() + 1 + gap - first)
            place = max(place, math.ceil(self._middle + FEWEST - (first + last) / 2))
        if room is not None and place + last + 1 > room:
            return False
        ends = CANVAS - 1 - written[:, ::-1].argmax(1)
        self._right = np.maximum(self._right, np.where(lines, ends + place, -FAR))
        self._middle = place + (first + last) / 2
        self._inks.append(ink)
        self._places.append(place)
        self.digits.append(digit)
        return True

    def strip(self, width: int | None, draw: Generator) -> Pixels:
        """Return the row (28, W): of a given width with its digits somewhere in it, or with margins around them."""
        wide = int(self._right.max()) + 1 if self._inks else 0
        start = MARGIN if width is None else int(draw.integers(0, width - wide + 1))
        strip = np.zeros((HEIGHT, (wide + 2 * MARGIN if width is None else width) + 2 * CANVAS), np.uint8)
        for ink, place in zip(self._inks, self._places, strict=True):
            part = strip[:, place + start + CANVAS :][:, :CANVAS]
            np.maximum(part, ink, out=part)
        return strip[:, CANVAS:-CANVAS]


def drawn(image: Pixels, size: float, stretch: float, slant: float, turn: float, down: float) -> Pixels:
    """Return a digit (28, 28) drawn again (28, 44), its middle in the middle.

    Args:
        image: the digit.
        size: 1 for its own.
        stretch: its width for its height, 1 for its own.
        slant: pixels sideways for each pixel up.
        turn: angle, radians.
        down: how much lower, pixels.
    """
    cos, sin = math.cos(turn) * size, math.sin(turn) * size
    across = stretch * (cos + slant * sin), stretch * (sin - slant * cos)
    middle = HEIGHT / 2 - 0.5
    matrix = np.array(
        [
            [*across, CANVAS / 2 - 0.5 - sum(across) * middle],
            [-sin, cos, middle + down - (cos - sin) * middle],
        ]
    )
    return np.asarray(cv2.warpAffine(image, matrix, (CANVAS, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)


def _near(profile: NDArray[np.float64], most: np.ufunc) -> NDArray[np.float64]:
    """Return for each line the extreme of it and its neighbours: inks meet across a corner, too."""
    result = profile.copy()
    most(result[1:], profile[:-1], out=result[1:])
    most(result[:-1], profile[1:], out=result[:-1])
    return result
