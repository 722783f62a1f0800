"""Answers for rows of digits: what was read, where, and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from lenet_lightning.inference import card, row_search
from lenet_lightning.inference.lines import Found
from lenet_lightning.inference.picture import FramedRows
from lenet_lightning.inference.row_search import Hypothesis, Logits, Scores, Segment, is_wide
from lenet_lightning.inference.strips import Line

if TYPE_CHECKING:  # they import torch
    from torch import Tensor

    from lenet_lightning.rows.reader import RowReader

Box = tuple[float, float, float, float]

# what a row's probability is multiplied by for each kind of doubt
_DROPPED, _CUT, _WIDE = 0.9, 0.9, 0.5
# the reader of rows knows how sure it is (docs/zipcode.md); the network of digits may doubt what it has not learned
_AGREED = 0.1
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

    def _repr_png_(self) -> bytes:
        """Return the PNG that a notebook shows: of each row its digits as the network saw them, and the notice."""
        rows = [
            (
                f"{row.text}  {row.probability:.1%}{'  rejected' if row.rejected else ''}",
                row.rejected,
                [(digit.seen, f"{digit.digit} {digit.probability:.0%}") for digit in row.digits],
            )
            for row in self.rows
        ]
        png = BytesIO()
        card.rows_card(rows, self.notice).save(png, "PNG", optimize=True)
        return png.getvalue()


def read(framed: FramedRows, logits: Logits, reader: "RowReader", reject_below: float) -> LineAnswer:
    """Read the rows of a picture that `picture.frame_rows` prepared, turned if they read much better then.

    Args:
        framed: what was found in the picture.
        logits: of the network of single digits.
        reader: of rows.
        reject_below: as `Recognizer` has it.

    Raises:
        RunError: as `Recognizer.logits`.
    """
    best: tuple[Found, list[tuple[Line, Hypothesis]]] | None = None
    most = -math.inf
    for found in framed.found:
        rows = _searched(found.lines, logits, reader)
        quality = _quality([hypothesis for _, hypothesis in rows])
        if quality > most + (_BETTER if best else 0):
            best, most = (found, rows), quality
        if not found.turned and quality >= _SURE:
            break
    width, height = framed.found[0].size
    size = (width * framed.scale, height * framed.scale)
    if best is None or not best[1]:
        return LineAnswer((), size, framed.notice)
    found, rows = best
    answers = tuple(_answer(found, line, hypothesis, framed.scale, reject_below) for line, hypothesis in rows)
    notices = [*([framed.notice] if framed.notice else []), *_notices(found, [each for _, each in rows])]
    return LineAnswer(answers, size, "; ".join(notices) or None)


def _searched(lines: Sequence[Line], logits: Logits, reader: "RowReader") -> list[tuple[Line, Hypothesis]]:
    from lenet_lightning.rows.reader import reading_of

    found = []
    for line, views in zip(lines, reader.logits([line.strip for line in lines]), strict=True):
        reading = reading_of(views, line.strip)
        found.append((line, row_search.search(line, reading, logits, _scorer(views))[0]))
    return found


def _scorer(views: "Tensor") -> Scores:
    """Return what gives strings of digits their log-probabilities, from the logits of the reader of rows."""
    from lenet_lightning.rows.reader import string_scores

    return lambda strings: string_scores(views, [tuple(map(int, each)) for each in strings]).numpy()


def _quality(rows: Sequence[Hypothesis]) -> float:
    """Return the geometric mean of the digits' probabilities; 0 if there are none."""
    count = sum(len(row.digits) for row in rows)
    return math.exp(sum(max(-1e3, row.network + row.reader) for row in rows) / (2 * count)) if count else 0.0


def _answer(found: Found, line: Line, row: Hypothesis, scale: float, reject_below: float) -> RowAnswer:
    digits = tuple(
        RowDigit(digit, np.exp(logs), _box(found, _place(line, segment), scale), segment.image)
        for segment, digit, logs in zip(row.segments, row.digits, row.logs, strict=True)
    )
    probability = math.exp(min(0.0, row.reader + _AGREED * row.network)) * _doubt(found, line, row)
    second = "".join(
        str(next(each for each in np.argsort(-logs) if each != digit))
        for digit, logs in zip(row.digits, row.logs, strict=True)
    )
    return RowAnswer(digits, probability, second, _log_odds(probability) < reject_below)


def _place(line: Line, segment: Segment) -> Box:
    """Return where a segment is, in pixels of the (turned) picture."""
    boxes = np.array([part.box for part in line.parts[segment.parts[0] : segment.parts[1] + 1]])
    left, right = (line.left + column * line.step for column in segment.columns)
    return float(left), float(boxes[:, 1].min()), float(right), float(boxes[:, 3].max())


def _box(found: Found, box: Box, scale: float) -> Box:
    left, top, right, bottom = (scale * each for each in found.place(box))
    return left, top, right, bottom


def _doubt(found: Found, line: Line, row: Hypothesis) -> float:
    """Return what the row's probability is multiplied by for what looks unlike a row of digits."""
    doubt = _DROPPED if line.dropped or row.left_out or found.crowded else 1.0
    doubt *= _CUT if any(part.cut for part in line.parts) else 1.0
    return float(doubt * _WIDE ** sum(map(is_wide, row.segments)))


def _log_odds(probability: float) -> float:
    """Return log(p / (1 - p)), 0 if p is below a half: a margin of 0 rejects nothing."""
    return max(0.0, math.log(probability / max(1 - probability, 1e-12))) if probability > 0.5 else 0.0


def _notices(found: Found, rows: Sequence[Hypothesis]) -> list[str]:
    notices = []
    if found.turned:
        notices.append(f"read with the picture turned to the {'left' if found.turned == 1 else 'right'}")
    if found.crowded:
        notices.append("more marks than digits: the smaller ones were left out")
    if dropped := sum(line.dropped for line in found.lines) + sum(row.left_out for row in rows):
        notices.append(f"{dropped} mark{'s' if dropped > 1 else ''} beside the digits left out")
    if wide := sum(is_wide(segment) for row in rows for segment in row.segments):
        notices.append(f"{wide} wider than a digit: two that touch?")
    if any(part.cut for line in found.lines for part in line.parts):
        notices.append("the border cuts a digit")
    return notices
