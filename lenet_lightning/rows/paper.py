"""What pen, paper and camera make of a row: thickness of strokes, dirt, and the light of a photograph."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lenet_lightning.rows.style import Style

Pixels = NDArray[np.uint8]

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
KNOT = 9  # pixels between the knots of what varies slowly


def used(strip: Pixels, style: Style, draw: Generator) -> Pixels:
    """Return a row (28, W) as it is written with a pen, on used paper, and photographed; as `style` says."""
    chances = draw.random(4)
    thickness = draw.uniform(*style.pen)
    if style.bend:
        strip = bent(strip, style.bend * draw.random(), draw)
    if thickness:
        strip = pen(strip, thickness)
    if chances[0] < style.dirt:
        strip = specks(strip, draw)
    if chances[1] < style.dirt:
        strip = broken(strip, draw)
    if chances[2] < style.dirt:
        strip = ruled(strip, draw)
    return photographed(strip, style.dark, draw) if chances[3] < style.light else strip


def pen(strip: Pixels, thickness: float) -> Pixels:
    """Return a row with thinner (below 0) or thicker strokes; up to 1 a mixture with that of a pixel less or more."""
    change = cv2.dilate if thickness > 0 else cv2.erode
    amount = abs(thickness)
    while amount > 0:
        part = min(amount, 1.0)
        strip = np.asarray(cv2.addWeighted(strip, 1 - part, change(strip, CROSS), part, 0), np.uint8)
        amount -= 1
    return strip


def bent(strip: Pixels, size: float, draw: Generator) -> Pixels:
    """Return a row displaced by a smooth field of this standard deviation, pixels."""
    height, width = strip.shape
    fields = draw.standard_normal((2, 4, 2 + width // KNOT), np.float32) * np.float32(size)
    x, y = (cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) for field in fields)
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(strip, x, y, cv2.INTER_LINEAR), np.uint8)


def specks(strip: Pixels, draw: Generator) -> Pixels:
    """Return a row with one to five dots that are no digits."""
    strip = strip.copy()
    height, width = strip.shape
    for _ in range(draw.integers(1, 6)):
        y, x = draw.integers(height - 1), draw.integers(width - 1)
        part = strip[y : y + draw.integers(1, 3), x : x + draw.integers(1, 3)]
        np.maximum(part, np.uint8(draw.integers(80, 256)), out=part)
    return strip


def broken(strip: Pixels, draw: Generator) -> Pixels:
    """Return a row of which short and thin lines are paper again."""
    strip = strip.copy()
    height, width = strip.shape
    for _ in range(max(1, width // 25)):
        y, x, across, down = (draw.integers(limit) for limit in (height, width, 9, 9))
        cv2.line(strip, (int(x), int(y)), (int(x + across - 4), int(y + down - 4)), 0, 1)
    return strip


def ruled(strip: Pixels, draw: Generator) -> Pixels:
    """Return a row with what is left of a ruled line, faint or broken."""
    strip = strip.copy()
    height, width = strip.shape
    y = int(draw.choice([draw.integers(0, 4), draw.integers(height - 5, height)]))
    first, last = sorted(draw.integers(0, width + 1, size=2).tolist())
    part = strip[y : y + int(draw.integers(1, 3)), first:last]
    np.maximum(part, np.uint8(draw.integers(30, 200)), out=part)
    return strip


def photographed(strip: Pixels, dark: float, draw: Generator) -> Pixels:
    """Return a row as a picture of it, framed, is: less sharp and of less contrast, with uneven light and noise.

    Args:
        strip: (28, W).
        dark: how much at most; 1 for a poor picture.
        draw: what it is drawn with.
    """
    height, width = strip.shape
    blur, faint, uneven, noise = draw.random(4) * dark
    if blur > 0.2:
        strip = np.asarray(cv2.GaussianBlur(strip, (5, 5), 1.1 * blur), np.uint8)
    pixels = strip.astype(np.float32) * (1 - 0.5 * faint)
    knots = draw.standard_normal((3, 2 + width // (3 * KNOT)), np.float32) * np.float32(22 * uneven)
    pixels += cv2.resize(knots, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels += draw.standard_normal((height, width), np.float32) * np.float32(20 * noise)
    return pixels.clip(0, 255).astype(np.uint8)
