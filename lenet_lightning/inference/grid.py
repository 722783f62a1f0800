"""Draw the predictions: each picture, the 28 x 28 image that the network saw, and the ten probabilities.

Of a picture of rows: the picture, with each digit where it was found.
"""

import sys
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, one_line, printable, remedy
from lenet_lightning.inference import card, picture
from lenet_lightning.inference.card import BEST, FAINT, GAP, HEAD, INK, SIDE
from lenet_lightning.inference.line_answers import LineAnswer
from lenet_lightning.inference.marked import marked
from lenet_lightning.inference.rows import Row

# more cells would be too many to look at
MOST = 60

_WIDTH = 3 * SIDE + 4 * GAP  # of a cell


def draw(rows: list[Row], path: Path) -> None:
    """Write a PNG with a cell for each picture, at most MOST.

    Raises:
        RunError: the file cannot be written; an older one stays as it was.
    """
    if len(rows) > MOST:
        print(f"{printable(path)}: shows the first {MOST} of {len(rows)}", file=sys.stderr)
    cells = [_rows_cell(row, row.lines) if row.lines else _cell(row) for row in rows[:MOST]]
    columns = 1 if len(cells) < 4 else 2 if len(cells) < 20 else 3
    lines = [cells[first : first + columns] for first in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in line) for line in lines]
    sheet = Image.new("RGB", (columns * _WIDTH, sum(heights)), "white")
    for line, height, below in zip(lines, heights, accumulate(heights), strict=True):
        for number, cell in enumerate(line):
            sheet.paste(cell, (number * _WIDTH, below - height))
    try:
        with replacing(path) as partial:
            sheet.save(partial, "PNG", optimize=True)
    except OSError as error:
        raise RunError(
            f"--picture {printable(path)}: cannot be written: {one_line(error.strerror or error)}; "
            f"{remedy(error, 'pass another file')}"
        ) from error


def _cell(row: Row) -> Image.Image:
    cell = Image.new("RGB", (_WIDTH, SIDE + HEAD + 2 * GAP), "white")
    pen = ImageDraw.Draw(cell)
    font, large = ImageFont.load_default(12), ImageFont.load_default(16)
    left, top = GAP, GAP + HEAD
    pen.text((left, GAP), _short(one_line(Path(row.name).name), font, 2 * SIDE), INK, font)
    answer = row.answer
    if answer is None or row.source is None:
        pen.text((left, top), _short(row.error or "", font, _WIDTH - 2 * GAP), INK, font)
        return cell
    shown = _thumbnail(row.source, SIDE)
    cell.paste(shown, (left + (SIDE - shown.width) // 2, top + (SIDE - shown.height) // 2))
    pen.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), outline="#d0d0d0")
    left += SIDE + GAP
    if answer.probabilities is None or answer.seen is None:
        pen.text((left, top), answer.notice or "", FAINT, large)
        return cell
    card.seen(cell, answer.seen, left, top)
    card.bars(cell, answer.probabilities, answer.rejected, left + SIDE + GAP, top)
    return cell


def _rows_cell(row: Row, lines: LineAnswer) -> Image.Image:
    font, large = ImageFont.load_default(12), ImageFont.load_default(16)
    assert row.source is not None  # it was read
    shown = _thumbnail(row.source, _WIDTH - 2 * GAP)
    if (times := (_WIDTH - 2 * GAP) // max(shown.size)) > 1:  # else the numbers would hide it
        shown = shown.resize((times * shown.width, times * shown.height))
    shown = marked(shown, max(shown.size) / max(lines.size), lines)
    cell = Image.new("RGB", (_WIDTH, shown.height + 2 * HEAD + 3 * GAP), "white")
    pen = ImageDraw.Draw(cell)
    pen.text((GAP, GAP), _short(one_line(Path(row.name).name), font, _WIDTH - 2 * GAP), INK, font)
    cell.paste(shown, (GAP, GAP + HEAD))
    pen.rectangle((GAP - 1, GAP + HEAD - 1, GAP + shown.width, GAP + HEAD + shown.height), outline="#d0d0d0")
    said = "blank" if lines.probability is None else f"{lines.text}  {lines.probability:.1%}"
    said += "  rejected" if lines.rejected else ""
    below = shown.height + HEAD + 2 * GAP
    pen.text((GAP, below), _short(said, large, _WIDTH - 2 * GAP), FAINT if lines.rejected else BEST, large)
    return cell


def _thumbnail(source: str | BinaryIO, side: int) -> Image.Image:
    if not isinstance(source, str):
        source.seek(0)
    return picture.thumbnail(source, side)


def _short(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
