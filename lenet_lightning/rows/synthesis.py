"""Rows made of single digits, as one writer would write them; a row is a function of its seed alone."""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lenet_lightning.rows import paper
from lenet_lightning.rows.network import HEIGHT
from lenet_lightning.rows.style import Mixture, Style

Pixels = NDArray[np.uint8]

CANVAS = 44  # columns in which a digit is drawn: slanted and large ones are wider than 28
INK = 64  # a pixel of at least this much is ink, where gaps are measured
MARGIN = 8  # most columns of paper beside the row
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

    def row(self, styles: Mixture, seed: np.random.SeedSequence, width: int | None = None) -> tuple[Pixels, list[int]]:
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
        strip, digits = self._written(style, draw, width)
        return paper.used(strip, style, draw), digits

    def _written(self, style: Style, draw: Generator, width: int | None) -> tuple[Pixels, list[int]]:
        fewest, most = style.digits
        count = 0 if draw.random() < style.empty else int(draw.integers(fewest, most + 1))
        chosen = draw.integers(len(self.labels), size=count)
        size, slant, drift, gap = (draw.uniform(*each) for each in (style.size, style.slant, style.drift, style.gap))
        # of each digit: size, width for its height, slant, turn, height on the line, gap
        own = draw.uniform(-1, 1, size=(count, 6))
        along = np.arange(count) / max(count - 1, 1) - 0.5
        inks, places, digits = list[Pixels](), list[int](), list[int]()
        right = np.full(HEIGHT, -FAR)  # the last column of ink in each line, so far
        middle = -FAR
        for at in range(count):
            each = own[at]
            ink = drawn(
                self.images[chosen[at]],
                size * (1 + style.size_spread * each[0]),
                1 + style.size_spread * each[1] / 2,
                slant + style.slant_spread * each[2],
                style.turn * each[3],
                drift * along[at] + style.height_spread * each[4],
            )
            written = ink >= INK
            columns = np.flatnonzero(written.any(0))
            if not len(columns):
                continue
            first, last = columns[0], columns[-1]
            left = np.where(written.any(1), written.argmax(1), FAR)
            near = _neighbourhood(right, np.maximum)
            paper_between = (_neighbourhood(left, np.minimum) - near).min()
            place = round(gap + style.gap_spread * each[5] + 1 - paper_between) if paper_between < FAR / 2 else 0
            if inks:
                if paper_between >= FAR / 2:  # they share no line
                    place = round(right.max() + 1 + gap - first)
                place = max(place, math.ceil(middle + FEWEST - (first + last) / 2))
            else:
                place = -first
            if width is not None and place + last + 1 > width - 2:
                break
            ends = CANVAS - 1 - written[:, ::-1].argmax(1)
            right = np.maximum(right, np.where(written.any(1), ends + place, -FAR))
            middle = place + (first + last) / 2
            inks.append(ink), places.append(place), digits.append(int(self.labels[chosen[at]]))
        wide = int(right.max()) + 1 if inks else 0
        if width is None:
            width, start = wide + 2 * MARGIN, MARGIN
        else:
            start = int(draw.integers(0, width - wide + 1))
        strip = np.zeros((HEIGHT, width + 2 * CANVAS), np.uint8)
        for ink, place in zip(inks, places, strict=True):
            at = place + start + CANVAS
            np.maximum(strip[:, at : at + CANVAS], ink, out=strip[:, at : at + CANVAS])
        return strip[:, CANVAS:-CANVAS], digits


def drawn(image: Pixels, size: float, stretch: float, slant: float, turn: float, down: float) -> Pixels:
    """Return a digit (28, 44), redrawn: its size, width for its height, slant, turn (radians) and place in the line."""
    cos, sin = math.cos(turn) * size, math.sin(turn) * size
    # columns and lines of the result from those of the digit, around the middles of both
    a, b = stretch * (cos + slant * sin), stretch * (sin - slant * cos)
    c, d = -sin, cos
    middle = HEIGHT / 2 - 0.5
    matrix = np.array(
        [[a, b, CANVAS / 2 - 0.5 - (a + b) * middle], [c, d, middle + down - (c + d) * middle]], np.float64
    )
    return cv2.warpAffine(image, matrix, (CANVAS, HEIGHT), flags=cv2.INTER_LINEAR)


def _neighbourhood(profile: NDArray[np.float64], most: np.ufunc) -> NDArray[np.float64]:
    """Return for each line the extreme of it and its neighbours: inks meet across a corner, too."""
    result = profile.copy()
    most(result[1:], profile[:-1], out=result[1:])
    most(result[:-1], profile[1:], out=result[:-1])
    return result
