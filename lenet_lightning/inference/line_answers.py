"""Answers for rows of digits: what was read, where, and how sure it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lenet_lightning.inference.lines import Found
from lenet_lightning.inference.picture import FramedRows
from lenet_lightning.inference.strips import Line

Box = tuple[float, float, float, float]
Logits = Callable[[np.ndarray], np.ndarray]  # uint8 (N, 28, 28) to float32 (N, 10)

# what a row's probability is multiplied by for each kind of doubt
_DROPPED, _CUT, _WIDE = 0.9, 0.9, 0.5
# the geometric mean of the digits' probabilities: upright rows that reach the first are not turned, and a turned one
# must be better by the second
_SURE, _BETTER = 0.9, 0.1


@dataclass(frozen=True)
class RowDigit:
    """One digit of a row.

    Attributes:
        digit: 0 to 9.
        probabilities: (10,) float64, of the ten digits.
        box: left, top, right and bottom in pixels of the picture.
        seen: the (28, 28) uint8 image that the network saw.
    """

    digit: int
    probabilities: np.ndarray = field(repr=False)
    box: Box
    seen: np.ndarray = field(repr=False)

    @property
    def probability(self) -> float:
        """That of the digit."""
        return float(self.probabilities[self.digit])


@dataclass(frozen=True)
class RowAnswer:
    """The prediction for one row.

    Attributes:
        digits: left to right.
        probability: that all of them are right and none is missing.
        second: the row, digit by digit, of the second most probable ones.
        rejected: whether the row's probability p is so low that log(p / (1 - p)) is below `reject_below`.
    """

    digits: tuple[RowDigit, ...]
    probability: float
    second: str
    rejected: bool

    @property
    def text(self) -> str:
        """The digits, rejected or not."""
        return "".join(str(each.digit) for each in self.digits)


@dataclass(frozen=True)
class LineAnswer:
    """The prediction for a picture of rows of digits.

    Attributes:
        rows: top to bottom; none if the picture is blank.
        size: (width, height) of the picture, in pixels.
        notice: what the user should know about how the picture was read, or None.
    """

    rows: tuple[RowAnswer, ...]
    size: tuple[float, float]
    notice: str | None

    @property
    def text(self) -> str:
        """The digits of all rows, rejected or not, with "/" between rows."""
        return "/".join(row.text for row in self.rows)

    @property
    def second(self) -> str:
        """The second most probable digits of all rows, with "/" between rows."""
        return "/".join(row.second for row in self.rows)

    @property
    def probability(self) -> float | None:
        """That all rows are right; None if the picture is blank."""
        return math.prod(row.probability for row in self.rows) if self.rows else None

    @property
    def rejected(self) -> bool:
        """Whether any of the rows is rejected."""
        return any(row.rejected for row in self.rows)


def read(framed: FramedRows, logits: Logits, reject_below: float) -> LineAnswer:
    """Read the rows of a picture that `picture.frame_rows` prepared, turned if they read much better then.

    Raises:
        RunError: as `Recognizer.logits`.
    """
    best: tuple[Found, tuple[RowAnswer, ...]] | None = None
    most = -math.inf
    for found in framed.found:
        rows = tuple(_row(line, found, framed.scale, logits, reject_below) for line in found.lines)
        quality = _quality(rows)
        if quality > most + (_BETTER if best else 0):
            best, most = (found, rows), quality
        if not found.turned and quality >= _SURE:
            break
    width, height = framed.found[0].size
    size = (width * framed.scale, height * framed.scale)
    if best is None or not best[1]:
        return LineAnswer((), size, framed.notice)
    found, rows = best
    notices = [*([framed.notice] if framed.notice else []), *_notices(found)]
    return LineAnswer(rows, size, "; ".join(notices) or None)


def _quality(rows: Sequence[RowAnswer]) -> float:
    """Return the geometric mean of the digits' probabilities; 0 if there are none."""
    each = [digit.probability for row in rows for digit in row.digits]
    return math.exp(sum(map(math.log, each)) / len(each)) if each else 0.0


def _row(line: Line, found: Found, scale: float, logits: Logits, reject_below: float) -> RowAnswer:
    of_parts = logits(np.stack([part.image for part in line.parts])).astype(np.float64)
    powers = np.exp(of_parts - of_parts.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    digits = tuple(
        RowDigit(int(each.argmax()), each, _box(found, part.box, scale), part.image)
        for part, each in zip(line.parts, probabilities, strict=True)
    )
    probability = math.prod(each.probability for each in digits) * _doubt(line)
    second = "".join(str(each.probabilities.argsort(kind="stable")[-2]) for each in digits)
    return RowAnswer(digits, probability, second, _log_odds(probability) < reject_below)


def _box(found: Found, box: Box, scale: float) -> Box:
    left, top, right, bottom = (scale * each for each in found.place(box))
    return left, top, right, bottom


def _doubt(line: Line) -> float:
    """Return what the row's probability is multiplied by for what looks unlike a row of digits."""
    doubt = _DROPPED if line.dropped else 1.0
    for part in line.parts:
        doubt *= (_CUT if part.cut else 1) * (_WIDE if part.wide else 1)
    return doubt


def _log_odds(probability: float) -> float:
    """Return log(p / (1 - p)), 0 if p is below a half: a margin of 0 rejects nothing."""
    return max(0.0, math.log(probability / max(1 - probability, 1e-12))) if probability > 0.5 else 0.0


def _notices(found: Found) -> list[str]:
    parts = [part for line in found.lines for part in line.parts]
    notices = []
    if found.turned:
        notices.append(f"read with the picture turned to the {'left' if found.turned == 1 else 'right'}")
    if dropped := sum(line.dropped for line in found.lines):
        notices.append(f"{dropped} mark{'s' if dropped > 1 else ''} beside the digits left out")
    if wide := sum(part.wide for part in parts):
        notices.append(f"{wide} wider than a digit: two that touch?")
    if any(part.cut for part in parts):
        notices.append("the border cuts a digit")
    return notices
