"""Rows of digits drawn with a pen, and where each is: what the tests of finding rows look at."""

import numpy as np
from PIL import Image, ImageDraw

# polylines in a box from (0, 0) to (1, 1)
DIGITS = {
    0: [[(0.5 + 0.3 * np.cos(turn), 0.5 + 0.45 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]],
    1: [[(0.52, 0.03), (0.48, 0.97)]],
    4: [[(0.45, 0.03), (0.15, 0.62), (0.9, 0.62)], [(0.7, 0.3), (0.66, 0.97)]],
    7: [[(0.12, 0.06), (0.86, 0.06), (0.4, 0.97)]],
}


def digit(pen, number, box, width, ink):
    """Draw one digit into a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    for stroke in DIGITS[number]:
        points = [(left + x * (right - left), top + y * (bottom - top)) for x, y in stroke]
        pen.line(points, ink, width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), ink)


def row(numbers, height=80, gap=30, width=9, margin=(60, 60), heights=None, paper=235, ink=40, bottom=None):
    """A row on paper, (rows, columns) uint8, and the box of each digit. `heights`: of each, in parts of `height`."""
    across, down = margin
    sizes = [height * part for part in heights or [1] * len(numbers)]
    columns = 2 * across + sum(round(0.7 * size) for size in sizes) + gap * (len(sizes) - 1)
    image = Image.new("L", (columns, height + 2 * down), paper)
    pen = ImageDraw.Draw(image)
    left, boxes = across, []
    for number, size in zip(numbers, sizes, strict=True):
        box = (left, down + height - size, left + round(0.7 * size), down + height)
        digit(pen, number, box, width, ink)
        boxes.append(box)
        left = box[2] + gap
    return np.array(image), boxes
