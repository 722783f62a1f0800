"""Draw a picture of rows with the box of each digit and its prediction."""

from PIL import Image, ImageDraw, ImageFont

from lenet_lightning.inference.card import BEST, FAINT
from lenet_lightning.inference.line_answers import LineAnswer


def marked(shown: Image.Image, shrunk: float, lines: LineAnswer) -> Image.Image:
    """Return the picture with its digits marked: faint those of a row that is rejected.

    Args:
        shown: RGB, the picture or a smaller copy.
        shrunk: its pixels per pixel of the picture.
        lines: what was read in it.
    """
    font = ImageFont.load_default(12)
    drawn = shown.copy()
    pen = ImageDraw.Draw(drawn)
    for row in lines.rows:
        colour = FAINT if row.rejected else BEST
        for digit in row.digits:
            left, top, right, bottom = (shrunk * side for side in digit.box)
            pen.rectangle((left - 1, top - 1, right, bottom), outline=colour)
            text = str(digit.digit)
            # above the box where there is room, else in it
            pen.text((left, top - 14 if top >= 14 else top), text, colour, font, stroke_width=2, stroke_fill="white")
    return drawn
