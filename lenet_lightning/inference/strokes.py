"""The ink of a grey picture: how far it is over its background, and a close-up of a part of it."""

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from lenet_lightning.inference import masks

# which signs the ink may have, for each value of `invert`
SIGNS = {"auto": (1, -1), "yes": (1,), "no": (-1,)}
# lines are narrower than this part of the picture's longest side
WIDEST = 0.35
# ink differs from its background by more than this, of 256 grey levels
LEAST_CONTRAST = 14
# ink begins at this part of its full strength
EDGE = 0.4

# in pixels, of the longest side of a digit in a close-up
CLOSE = 80
# line widths in pixels of a close-up: 99 % of MNIST's lines are wider than the first, half of them than the second
_THIN, _USUAL = 6.5, 10.5

_ALL_AROUND = np.ones((3, 3), np.uint8)


def narrow(above: np.ndarray, widest: float) -> np.ndarray:
    """Keep the lines in `above`, how far each pixel is over its background; remove what is wider: shadows, stains."""
    above = np.maximum(above, 0)
    if above.max() <= LEAST_CONTRAST / 2:
        return np.zeros_like(above)
    side = 1 + round(widest * max(above.shape))
    wider = np.ones((side, side), np.uint8)
    smooth = cv2.GaussianBlur(above, (9, 9), 1, borderType=cv2.BORDER_REFLECT)
    shade = cv2.erode(smooth, wider, anchor=(side // 2,) * 2, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if shade.max() < 0.5:  # most pictures are clean; less than half a grey level is none
        return above
    return np.minimum(above, above - cv2.dilate(shade, wider, anchor=((side - 1) // 2,) * 2))


def full(strengths: np.ndarray) -> float:
    """Return the full strength of ink: a high percentile, so that no single pixel decides."""
    ordered = np.sort(strengths)
    strong = ordered[np.searchsorted(ordered, EDGE * ordered[int(0.98 * (len(ordered) - 1))]) :]
    return float(strong[int(0.75 * (len(strong) - 1))])


class CloseUp(NamedTuple):
    """A part of a picture, seen closely.

    Attributes:
        strength: (height, width), of the ink, 0 to 1.
        top: where it starts, in pixels of the picture in which the ink was searched.
        left: the same.
        scale: its pixels per pixel of that picture.
    """

    strength: np.ndarray
    top: float
    left: float
    scale: float


def close_up(grey: np.ndarray, by: float, level: np.ndarray, sign: int, mask: np.ndarray, length: float) -> CloseUp:
    """Return the ink in the mask, resampled from the full picture.

    Args:
        grey: the full picture, (height, width), uint8.
        by: how many of its pixels one of the mask's stands for.
        level: of the background, of the mask's shape.
        sign: 1 if the ink is lighter than the background, else -1.
        mask: (bool), of the ink.
        length: in the mask's pixels, of what is to be CLOSE pixels long.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    margin = 1 + 0.2 * length
    top, left = max(0.0, y - margin), max(0.0, x - margin)
    bottom, right = min(mask.shape[0], y + height + margin), min(mask.shape[1], x + width + margin)
    scale = CLOSE / length
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    box = (left * by, top * by, min(right * by, grey.shape[1]), min(bottom * by, grey.shape[0]))
    # Pillow's bicubic averages when it reduces; the background and the mask are smooth: OpenCV's sampling is quicker
    close = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC, box))
    step = np.array([right - left, bottom - top]) / size
    back = np.column_stack([np.diag(step), (left, top) + step / 2 - 0.5])
    kept = cv2.dilate(mask.view(np.uint8), _ALL_AROUND, iterations=2).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    behind, inside = (
        cv2.warpAffine(each, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE) for each in (level, kept)
    )
    widest = WIDEST * min(1, 2 * CLOSE / max(size))  # a row of digits is much longer than its lines are wide
    ink = narrow(sign * (close - behind), widest) * inside
    strong = ink[ink > LEAST_CONTRAST / 2]
    strength = np.minimum(ink / full(strong), 1) if len(strong) else np.zeros_like(ink)
    return CloseUp(strength, top, left, scale)


def thick(strength: np.ndarray) -> np.ndarray:
    """Thicken lines of a close-up that are thinner than MNIST's to the usual width."""
    inked = strength > 0.5
    area = int(np.count_nonzero(inked))
    width = 2 * area / max(1, area - int(np.count_nonzero(masks.eroded(inked))))
    if width >= _THIN:
        return strength
    radius = round((_USUAL - width) / 2)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x * x + y * y <= radius * radius).view(np.uint8)
    return np.asarray(cv2.dilate(np.pad(strength, radius), disc))
