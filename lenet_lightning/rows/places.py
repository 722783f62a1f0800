"""Where the ink of each digit of a row begins and ends."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lenet_lightning.rows.network import WINDOW

FAINT = 38  # a column whose brightest pixel has less is paper, of 255


def inks(strip: NDArray[np.uint8], centres: Sequence[float]) -> list[tuple[float, float]]:
    """Return the first column of each digit's ink and the one after its last.

    Neighbours are parted where there is the least ink between them; a digit is at most 32 columns wide.

    Args:
        strip: (28, W).
        centres: column of each digit where it was read, in their order.
    """
    width = strip.shape[1]
    ink = strip.max(0)
    cuts = [_cut(strip, left, right) for left, right in pairwise(centres)]
    found = list[tuple[float, float]]()
    for centre, first, last in zip(centres, [0, *cuts], [*cuts, width], strict=True):
        first = max(first, round(centre) - WINDOW // 2)
        last = max(first + 1, min(last, round(centre) + WINDOW // 2, width))
        first = min(first, width - 1)
        dark = np.flatnonzero(ink[first:last] > FAINT)
        found.append(
            (first + float(dark[0]), first + float(dark[-1]) + 1) if len(dark) else (float(first), float(last))
        )
    return found


def _cut(strip: NDArray[np.uint8], left: float, right: float) -> int:
    """Return the column between two digits that has the least ink; of several the one nearest to their middle."""
    first = min(max(0, round(left) + 1), strip.shape[1])
    columns = np.arange(first, max(first + 1, min(round(right), strip.shape[1])))
    if first >= strip.shape[1]:
        return first
    amount = strip[:, columns].sum(0, dtype=np.int64)
    middle = (left + right) / 2
    return int(min(columns[amount == amount.min()], key=lambda column: abs(column - middle)))
