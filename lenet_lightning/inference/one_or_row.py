"""Frame what is in a picture without being told whether it is one digit or a row, as the page does."""

from dataclasses import replace

import numpy as np

from lenet_lightning.inference import picture

# of its height: of MNIST's digits one in fifty is so wide, and so are two that touch
_BROAD = 0.95
_INK = 100  # of 255


def frame(content: bytes, invert: str = "auto") -> tuple[picture.Framed, picture.FramedRows | None]:
    """Return the one digit in a picture and, unless it looks like one, the rows.

    Args:
        content: of a picture file.
        invert: as for `picture.frame`, whose errors these are.
    """
    one = picture.frame(content, invert)
    # looking for others takes as long again
    if one.pixels is None or (one.notice is None and not _is_broad(one.pixels)):
        return one, None
    rows = picture.frame_rows(content, invert)
    # a broad digit on its side would pass for several
    return one, rows if one.notice else replace(rows, found=rows.found[:1])


def _is_broad(pixels: np.ndarray) -> bool:
    high, wide = (np.ptp(np.nonzero((pixels > _INK).any(axis))[0]) + 1 for axis in (1, 0))
    return bool(wide >= _BROAD * high)
