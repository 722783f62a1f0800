"""Choose what a transparent picture is laid on, so that its ink is seen."""

import numpy as np
from PIL import Image

_SIDE = 200  # pixels of each side that are looked at
_LIGHT = 160  # grey level of ink that white paper would hide
_MOST_INK = 0.5  # part of the picture; what covers more is paper


def backing(image: Image.Image) -> str:
    """Return "black" for light ink on a transparent ground, as a dark page's canvas has it, otherwise "white"."""
    few = image.resize([min(length, _SIDE) for length in image.size], Image.Resampling.NEAREST).convert("RGBA")
    covered = np.asarray(few.getchannel("A"), np.float64) / 255
    if not 0 < covered.mean() < _MOST_INK:
        return "white"
    return "black" if np.average(np.asarray(few.convert("RGB").convert("L")), weights=covered) > _LIGHT else "white"
