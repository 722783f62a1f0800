"""An answer as a picture: the 28 x 28 images that the network saw, the probabilities, and the notice."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 140  # of the 28 x 28, 5 times enlarged, and of the bars
GAP = 12
HEAD = 26
BAR, BEST, INK, FAINT = "#9db4d3", "#1f4e9c", "#1a1a1a", "#6b6b6b"
_WIDTH = 2 * SIDE + 3 * GAP
_SMALL = 56  # the 28 x 28 of a digit in a row, twice enlarged


def card(image: np.ndarray | None, probabilities: np.ndarray | None, rejected: bool, notice: str | None) -> Image.Image:
    """Return the picture of an answer, 316 pixels wide: what was seen, its bars, and below them the notice.

    Arguments are the attributes of an Answer; of a blank picture there is the notice alone.
    """
    lines = _wrapped(notice)
    blank = image is None or probabilities is None
    height = GAP + (0 if blank else HEAD + SIDE + GAP) + 16 * len(lines)
    sheet = Image.new("RGB", (_WIDTH, height), "white")
    if image is not None and probabilities is not None:
        seen(sheet, image, GAP, GAP + HEAD)
        bars(sheet, probabilities, rejected, SIDE + 2 * GAP, GAP + HEAD)
    _write(sheet, lines)
    return sheet


def rows_card(rows: Sequence[tuple[str, bool, Sequence[tuple[np.ndarray, str]]]], notice: str | None) -> Image.Image:
    """Return the picture of rows of digits, one below the other, and below them the notice.

    Args:
        rows: of each its headline, whether it is rejected, and of its digits what was seen, (28, 28) uint8, and a word.
        notice: what the user should know, or None.
    """
    lines = _wrapped(notice)
    most = max((len(digits) for _, _, digits in rows), default=0)
    line = HEAD + _SMALL + 20 + GAP
    sheet = Image.new(
        "RGB", (max(_WIDTH, most * (_SMALL + 4) + 2 * GAP), len(rows) * line + GAP + 16 * len(lines)), "white"
    )
    pen = ImageDraw.Draw(sheet)
    for number, (headline, rejected, digits) in enumerate(rows):
        top = GAP // 2 + number * line
        pen.text((GAP, top), headline, FAINT if rejected else BEST, ImageFont.load_default(16))
        for place, (image, word) in enumerate(digits):
            left = GAP + place * (_SMALL + 4)
            sheet.paste(Image.fromarray(image).resize((_SMALL, _SMALL), Image.Resampling.NEAREST), (left, top + HEAD))
            pen.text((left, top + HEAD + _SMALL + 2), word, INK, ImageFont.load_default(12))
    _write(sheet, lines)
    return sheet


def _wrapped(notice: str | None) -> list[str]:
    return textwrap.wrap(notice or "", 48)


def _write(sheet: Image.Image, lines: Sequence[str]) -> None:
    """Write the lines of a notice at the foot of a sheet."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, line in enumerate(lines):
        pen.text((GAP, sheet.height - GAP // 2 - 16 * (len(lines) - number)), line, FAINT, font)


def seen(sheet: Image.Image, image: np.ndarray, left: int, top: int) -> None:
    """Paste what the network saw, (28, 28) uint8, onto a sheet, SIDE pixels a side."""
    sheet.paste(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.NEAREST), (left, top))


def bars(sheet: Image.Image, probabilities: np.ndarray, rejected: bool, left: int, top: int) -> None:
    """Draw a bar for each digit's probability (10,) onto a sheet, SIDE pixels a side, and above them the best one."""
    pen, best = ImageDraw.Draw(sheet), int(probabilities.argmax())
    result = f"{best}  {probabilities[best]:.1%}" + ("  rejected" if rejected else "")
    pen.text((left, top - HEAD - 3), result, FAINT if rejected else BEST, ImageFont.load_default(16))
    step = SIDE / 10
    for digit, probability in enumerate(probabilities):
        y = top + digit * step
        pen.text((left, y), str(digit), INK, ImageFont.load_default(12))
        length = round((SIDE - 18) * float(probability))
        pen.rectangle((left + 16, y + 2, left + 16 + length, y + step - 3), BEST if digit == best else BAR)
