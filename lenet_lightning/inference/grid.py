"""Draw the predictions: each picture, the 28 x 28 image that the network saw, and the ten probabilities."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, one_line, printable, remedy
from lenet_lightning.inference import picture
from lenet_lightning.inference.recognizer import Answer
from lenet_lightning.inference.rows import Row

# more cells would be too many to look at
MOST = 60

_SIDE = 140  # of the picture, of the 28 x 28 (5 times enlarged), and of the bars
_GAP = 12
_HEAD = 26
_CELL = (3 * _SIDE + 4 * _GAP, _SIDE + _HEAD + 2 * _GAP)
_BAR, _BEST, _INK, _FAINT = "#9db4d3", "#1f4e9c", "#1a1a1a", "#8a8a8a"


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
    left, top = _GAP, _GAP + _HEAD
    pen.text((left, _GAP), _short(one_line(Path(row.name).name), font, 2 * _SIDE), _INK, font)
    if answer is None or row.source is None:
        pen.text((left, top), _short(row.error or "", font, _CELL[0] - 2 * _GAP), _INK, font)
        return cell
    if not isinstance(row.source, str):
        row.source.seek(0)
    shown = picture.thumbnail(row.source, _SIDE)
    cell.paste(shown, (left + (_SIDE - shown.width) // 2, top + (_SIDE - shown.height) // 2))
    pen.rectangle((left - 1, top - 1, left + _SIDE, top + _SIDE), outline="#d0d0d0")
    left += _SIDE + _GAP
    if answer.probabilities is None or answer.seen is None:
        pen.text((left, top), answer.notice or "", _FAINT, large)
        return cell
    cell.paste(Image.fromarray(answer.seen).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, top))
    left += _SIDE + _GAP
    best = answer.ranked[0]
    result = f"{best}  {answer.probabilities[best]:.1%}" + ("  rejected" if answer.rejected else "")
    pen.text((left, _GAP - 3), result, _FAINT if answer.rejected else _BEST, large)
    step = _SIDE / 10
    for digit, probability in enumerate(answer.probabilities):
        y = top + digit * step
        pen.text((left, y), str(digit), _INK, font)
        length = round((_SIDE - 18) * float(probability))
        pen.rectangle((left + 16, y + 2, left + 16 + length, y + step - 3), _BEST if digit == best else _BAR)
    return cell


def _short(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
