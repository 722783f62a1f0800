"""Any picture of one digit to the 28 x 28 that MNIST would have made of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

INVERT = ("auto", "yes", "no")


@dataclass(frozen=True)
class Framed:
    """A picture as the network sees it: (28, 28) uint8, bright on black, None if blank; and what to tell the user."""

    pixels: np.ndarray | None
    notice: str | None = None


def frame(image: Path | str | Image.Image | np.ndarray, invert: str = "auto") -> Framed:
    grey = (
        Image.open(image)
        if isinstance(image, Path | str)
        else Image.fromarray(image)
        if isinstance(image, np.ndarray)
        else image
    )
    pixels = np.asarray(grey.convert("L").resize((28, 28)))
    if pixels.max() == pixels.min():
        return Framed(None, "blank")
    return Framed(255 - pixels if pixels[0, 0] > 127 else pixels)
