"""Read a row by two networks: that of single digits for what stands apart, and the reader of rows for what touches."""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from lenet_lightning.inference import framing, strokes
from lenet_lightning.inference.strips import TALL, Line
from lenet_lightning.rows.reading import Reading

Logits = Callable[[np.ndarray], np.ndarray]  # uint8 (N, 28, 28) to float32 (N, 10)
Scores = Callable[[Sequence[str]], np.ndarray]  # strings of digits to the log-probabilities (N,) that a strip has them

# in columns of the strip: pieces that are nearer than the first and together narrower than the second may be one digit
_NEAR, _ONE = 8, 26
# a digit that is wider than this may be two; nothing narrower than this is split off
_WIDE, _NARROW = 16, 3
# how much the reader's word weighs beside the digits'
_WEIGHT = 0.7
_ASTRAY = 5e-4  # the probability that the reader meets a row unlike those it has learned
# and that of a digit that was cut out of others: the cut leaves parts of them
_CUT = 0.1
# a digit is hardly wider than this part of its height: what the logarithm of its probability loses per height
_SQUARE, _UNLIKELY = 1.15, 8.0
# what that logarithm loses per column between the pieces of a digit, beyond the first ones, and for what stands apart
# and is taken for no digit and no piece of one
_BROKEN, _WHOLE, _LEFT_OUT = 0.3, 2.0, 3.0
_TOO_WIDE = 1.35  # what is wider than this part of its height is no digit
_FAINTEST = 0.15  # of the strongest ink of the strip
_LEAST = 1e-6  # a probability


@dataclass(frozen=True)
class Segment:
    """What is taken for one digit.

    Attributes:
        columns: where it starts and stops in the strip.
        image: (28, 28), uint8.
        parts: the first and the last part of the line that it belongs to.
        cut: whether it is only a piece of what stands apart.
        gap: columns between its pieces, together.
    """

    columns: tuple[float, float]
    image: np.ndarray
    parts: tuple[int, int]
    cut: bool = False
    gap: float = 0.0


@dataclass(frozen=True)
class Hypothesis:
    """A way to read a row: its segments, of each the digit and the log-probabilities (10,).

    Of the line's parts some may be left out.
    """

    segments: tuple[Segment, ...]
    digits: tuple[int, ...]
    logs: tuple[np.ndarray, ...]
    left_out: int
    reader: float

    @property
    def text(self) -> str:
        """The digits."""
        return "".join(map(str, self.digits))

    @property
    def network(self) -> float:
        """The log-probability of the digits, each in its segment."""
        likely = sum(
            (_CUT if segment.cut else 1) * log[digit]
            for segment, log, digit in zip(self.segments, self.logs, self.digits, strict=True)
        )
        # the network of single digits is sure of several, too, seen as one
        wide = sum(max(0.0, (each.columns[1] - each.columns[0]) / TALL - _SQUARE) for each in self.segments)
        broken = sum(max(0.0, each.gap - _WHOLE) for each in self.segments)
        return float(likely - _UNLIKELY * wide - _BROKEN * broken - _LEFT_OUT * self.left_out)

    @property
    def total(self) -> float:
        """What is compared."""
        return self.network + _WEIGHT * float(np.logaddexp(self.reader, np.log(_ASTRAY)))


def search(line: Line, reading: Reading, logits: Logits, scores: Scores) -> list[Hypothesis]:
    """Return the ways to read a row that were tried, the best first.

    Args:
        line: the row.
        reading: of the reader of rows.
        logits: of the network of single digits.
        scores: of the reader of rows.
    """
    centres = [(each.left + each.right) / 2 for each in reading.digits]
    known: dict[tuple[float, float], np.ndarray] = {}

    def hypotheses(choices: list[list[Segment]]) -> list[Hypothesis]:
        new = {segment.columns: segment.image for each in choices for segment in each if segment.columns not in known}
        if new:
            values = logits(np.stack(list(new.values()))).astype(np.float64)
            values -= values.max(1, keepdims=True)
            values -= np.log(np.exp(values).sum(1, keepdims=True))
            known.update(zip(new, values, strict=True))
        read = []
        for segments in choices:
            logs = tuple(known[segment.columns] for segment in segments)
            read.append((tuple(segments), tuple(int(log.argmax()) for log in logs), logs))
        return _scored(line, read, scores)

    apart = [Segment(part.columns, part.image, (at, at)) for at, part in enumerate(line.parts)]
    tried = hypotheses([apart])
    if tried[0].text == str(reading):  # what stands apart are the digits: no need to search
        return tried
    if as_read := _as_read(line, reading):
        tried += hypotheses([as_read])
        read = tuple(each.digit for each in reading.digits)
        tried += _scored(line, [(tried[-1].segments, read, tried[-1].logs)], scores)
    best = max(tried, key=lambda each: each.total)
    while True:
        choices = list(_changes(line, best.segments, centres))
        others = hypotheses(choices) if choices else []
        others += _scored(line, [*_substitutions(best)], scores)
        tried += others
        better = max(others, key=lambda each: each.total, default=best)
        if better.total <= best.total + 1e-9:
            break
        best = better
    unique = {each.text: each for each in sorted(tried, key=lambda each: each.total)}
    return sorted(unique.values(), key=lambda each: -each.total)


def is_wide(segment: Segment) -> bool:
    """Return whether a segment is wider than a digit."""
    return segment.columns[1] - segment.columns[0] > _TOO_WIDE * TALL


def _scored(
    line: Line, read: Sequence[tuple[tuple[Segment, ...], tuple[int, ...], tuple[np.ndarray, ...]]], scores: Scores
) -> list[Hypothesis]:
    if not read:
        return []
    reader = scores(["".join(map(str, digits)) for _, digits, _ in read])
    hypotheses = []
    for each, score in zip(read, reader, strict=True):
        covered = {part for segment in each[0] for part in range(segment.parts[0], segment.parts[1] + 1)}
        hypotheses.append(Hypothesis(*each, len(line.parts) - len(covered), float(score)))
    return hypotheses


def _substitutions(best: Hypothesis) -> list[tuple[tuple[Segment, ...], tuple[int, ...], tuple[np.ndarray, ...]]]:
    changed = []
    for at, log in enumerate(best.logs):
        for digit in np.argsort(-log)[:3]:
            if digit != best.digits[at] and log[digit] > np.log(_LEAST):
                digits = (*best.digits[:at], int(digit), *best.digits[at + 1 :])
                changed.append((best.segments, digits, best.logs))
    return changed


def _changes(line: Line, segments: Sequence[Segment], centres: Sequence[float]) -> list[list[Segment]]:
    """Return the segments with two that are near made one, or with one that is wide split."""
    changed = []
    for at, (one, other) in enumerate(pairwise(segments)):
        left, right = min(one.columns[0], other.columns[0]), max(one.columns[1], other.columns[1])
        if other.columns[0] - one.columns[1] < _NEAR and right - left <= _ONE:
            image = framed(line.strip, left, right)
            if image is not None:
                gap = one.gap + other.gap + max(0.0, other.columns[0] - one.columns[1])
                both = Segment((left, right), image, (one.parts[0], other.parts[1]), gap=gap)
                changed.append([*segments[:at], both, *segments[at + 2 :]])
    for at, segment in enumerate(segments):
        for cuts in _cuts(line.strip, segment, centres):
            if pieces := _cut(line, segment, cuts):
                changed.append([*segments[:at], *pieces, *segments[at + 1 :]])
    return changed


def _cut(line: Line, segment: Segment, cuts: list[float]) -> list[Segment] | None:
    """Return a segment cut at some columns, or None if a piece would be too narrow or without ink."""
    pieces = []
    for left, right in pairwise([segment.columns[0], *cuts, segment.columns[1]]):
        image = framed(line.strip, left, right) if right - left >= _NARROW else None
        if image is None:
            return None
        pieces.append(Segment((left, right), image, segment.parts, True))
    return pieces


def _as_read(line: Line, reading: Reading) -> list[Segment]:
    """Return a segment for each digit of the reader of rows, all of what stands apart or a piece; none if one is empty.

    What stands apart and is no digit to it is a stroke of the digit beside it.
    """
    starts = [part.columns[0] for part in line.parts]
    home = [max(0, bisect(starts, (each.left + each.right) / 2) - 1) for each in reading.digits]
    segments = []
    for each, part in zip(reading.digits, home, strict=True):
        if home.count(part) == 1:
            last = part + 1
            while last < len(line.parts) and last not in home and line.parts[last].columns[0] - each.right < _NEAR:
                last += 1
            first = part if part or 0 in home else 0
            if last - first == 1:
                segments.append(Segment(line.parts[part].columns, line.parts[part].image, (part, part)))
                continue
            left = min(other.columns[0] for other in line.parts[first:last])
            right, parts = max(other.columns[1] for other in line.parts[first:last]), (first, last - 1)
            gap = sum(max(0.0, b.columns[0] - a.columns[1]) for a, b in pairwise(line.parts[first:last]))
        else:
            left, right, parts, gap = each.left, each.right, (part, part), 0.0
        image = framed(line.strip, left, right)
        if image is None:
            return []
        segments.append(Segment((left, right), image, parts, home.count(part) > 1, gap))
    return segments


def _cuts(strip: np.ndarray, segment: Segment, centres: Sequence[float]) -> list[list[float]]:
    """Return where a segment may be cut: between the reader's digits, or where there is little ink."""
    left, right = segment.columns
    inside = [centre for centre in centres if left <= centre < right]
    found = []
    if len(inside) > 1:
        found.append(_between(strip, inside))
    if right - left >= _WIDE:
        third = (right - left) / 4
        found.append([_valley(strip, left + third, right - third)])
    return found


def _between(strip: np.ndarray, centres: Sequence[float]) -> list[float]:
    """Return where to cut between digits with these centres."""
    return [_valley(strip, one, other) for one, other in pairwise(centres)]


def _valley(strip: np.ndarray, left: float, right: float) -> float:
    """Return the column between two that has the least ink; of several the one nearest to their middle."""
    columns = np.arange(round(left) + 1, max(round(left) + 2, round(right)))
    columns = columns[columns < strip.shape[1]]
    if not len(columns):
        return (left + right) / 2
    amount = strip[:, columns].sum(0, dtype=np.int64).astype(float)
    return float(columns[np.argmin(amount + 8.0 * np.abs(columns - (left + right) / 2))]) + 0.5


def framed(strip: np.ndarray, left: float, right: float) -> np.ndarray | None:
    """Return the ink between two columns of a strip, framed as one digit; None if there is none."""
    first, last = max(0, int(np.floor(left))), min(strip.shape[1], int(np.ceil(right)))
    ink = strip[:, first:last].astype(np.float32) / 255
    strongest = ink.max(initial=0)
    if strongest < _FAINTEST:
        return None
    ink /= strongest  # a digit may be fainter than the others of its row
    times = strokes.CLOSE / TALL
    return framing.fitted(cv2.resize(ink, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC).clip(0, 1))
