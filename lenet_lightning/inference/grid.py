"""Draw the predictions: each picture, the 28 x 28 image that the network saw, and the ten probabilities."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, one_line, printable, remedy
from lenet_lightning.inference import card, picture
from lenet_lightning.inference.card import FAINT, GAP, HEAD, INK, SIDE
from lenet_lightning.inference.recognizer import Answer
from lenet_lightning.inference.rows import Row

# more cells would be too many to look at
MOST = 60

_CELL = (3 * SIDE + 4 * GAP, SIDE + HEAD + 2 * GAP)


def draw(rows: list[Row], path: Path) -> None:
    """Write a PNG with a cell for each answer, at most MOST.

    Raises:
        RunError: the file cannot be written; an older one stays as it was.
    """
    cells = [(row, answer) for row in rows for answer in (row.answers or (None,))]
    if len(cells) > MOST:
        print(f"{printable(path)}: shows the first {MOST} of {len(cells)}", file=sys.stderr)
    cells = cells[:MOST]
    columns = 1 if len(cells) < 4 else 2 if len(cells) < 20 else 3
    width, height = _CELL
    sheet = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), "white")
    for number, (row, answer) in enumerate(cells):
        sheet.paste(_cell(row, answer), (number % columns * width, number // columns * height))
    try:
        with replacing(path) as partial:
            sheet.save(partial, "PNG", optimize=True)
    except OSError as error:
        raise RunError(
            f"--picture {printable(path)}: cannot be written: {one_line(error.strerror or error)}; "
            f"{remedy(error, 'pass another file')}"
        ) from error


def _cell(row: Row, answer: Answer | None) -> Image.Image:
    cell = Image.new("RGB", _CELL, "white")
    pen = ImageDraw.Draw(cell)
    font, large = ImageFont.load_default(12), ImageFont.load_default(16)
    left, top = GAP, GAP + HEAD
    pen.text((left, GAP), _short(one_line(Path(row.name).name), font, 2 * SIDE), INK, font)
    if answer is None or row.source is None:
        pen.text((left, top), _short(row.error or "", font, _CELL[0] - 2 * GAP), INK, font)
        return cell
    if not isinstance(row.source, str):
        row.source.seek(0)
    shown = picture.thumbnail(row.source, SIDE)
    cell.paste(shown, (left + (SIDE - shown.width) // 2, top + (SIDE - shown.height) // 2))
    pen.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), outline="#d0d0d0")
    left += SIDE + GAP
    if answer.probabilities is None or answer.seen is None:
        pen.text((left, top), answer.notice or "", FAINT, large)
        return cell
    card.seen(cell, answer.seen, left, top)
    card.bars(cell, answer.probabilities, answer.rejected, left + SIDE + GAP, top)
    return cell


def _short(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
