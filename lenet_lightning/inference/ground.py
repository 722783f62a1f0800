"""The background of a grey picture: its level at each pixel and its noise, without the ink."""

from functools import cache

import cv2
import numpy as np

# of each term, in the order in which they are fitted: the exponent of y and that of x; the first three are a plane
_OF_Y, _OF_X = np.array([(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]).T
_OF_PRODUCTS = np.add.outer(_OF_Y, _OF_Y), np.add.outer(_OF_X, _OF_X)
_PLANE, _QUADRIC = 3, 6
_FEW = np.s_[::2, ::2]  # of the pixels; enough for six coefficients and a median
# in grey levels, and in medians of the background's own: the background is off by less than the greater of the two
_CLEAN, _SPREAD = 20, 4.5


def fitted(grey: np.ndarray, region: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the background's level at each pixel: a plane, then a quadric, fitted robustly to most pixels.

    Args:
        grey: (height, width).
        region: mask (bool) of the pixels that count.
        start: mask (bool) of those where no ink is expected.

    Returns:
        (height, width), float32.
    """
    y, x = map(_powers, grey.shape)
    grey, region, start = grey[_FEW], region[_FEW], start[_FEW]
    levels = grey.astype(np.float64)
    first = np.sort(grey[start] if start.any() else grey, axis=None)
    weights = first[[len(first) // 2]].astype(np.float64)
    off = np.abs(levels - weights)
    near = start
    # at first only where no ink is expected: a bold digit could pass for the background
    for where, kept, times in ((start, _PLANE, 3), (region, _PLANE, 3), (region, _QUADRIC, 4)):
        for again in range(times):
            before, near = near, where & (off < _SPREAD * _median(off, near, _CLEAN / _SPREAD))
            if np.count_nonzero(near) < 20:
                return surface(weights, y, x).astype(np.float32)
            if again and not (near ^ before).any():  # the same fit would follow
                break
            weights = least_squares(levels, near, y[::2], x[::2], kept)
            off = np.abs(levels - surface(weights, y[::2], x[::2]))
    return surface(weights, y, x).astype(np.float32)


@cache
def _powers(length: int) -> np.ndarray:
    """Return powers 0 to 4, (length, 5), of the places from -1 to 1."""
    return np.linspace(-1, 1, length)[:, None] ** np.arange(5)


def _median(off: np.ndarray, mask: np.ndarray, least: float) -> float:
    """Return the median in the mask (of two the upper), or `least` if that is greater."""
    count = np.count_nonzero(mask)
    # most pictures are clean, and counting is quicker
    clean = 2 * np.count_nonzero((off < least) & mask) >= count
    return least if clean else max(least, float(np.partition(off[mask], count // 2)[count // 2]))


def least_squares(levels: np.ndarray, mask: np.ndarray, y: np.ndarray, x: np.ndarray, kept: int) -> np.ndarray:
    """Return the coefficients of the first `kept` terms that fit the levels in the mask best.

    The normal equations: all their sums are moments of the mask, two small products of matrices.

    Args:
        levels: (height, width).
        mask: (height, width), bool.
        y: (height, 5), powers 0 to 4 of each row's place.
        x: (width, 5), powers 0 to 4 of each column's place.
        kept: 3 for a plane, 6 for a quadric.
    """
    sums = (y.T @ mask @ x)[_OF_PRODUCTS[0][:kept, :kept], _OF_PRODUCTS[1][:kept, :kept]]
    right = (y.T @ (mask * levels) @ x)[_OF_Y[:kept], _OF_X[:kept], None]
    # in a picture of one row the terms depend on each other
    return cv2.solve(sums, right, flags=cv2.DECOMP_SVD)[1].ravel()


def surface(weights: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the sum (height, width) of the terms with these coefficients; y and x as for `least_squares`."""
    coefficients = np.zeros((3, 3))
    coefficients[_OF_Y[: len(weights)], _OF_X[: len(weights)]] = weights
    return y[:, :3] @ coefficients @ x[:, :3].T


def noise(grey: np.ndarray, level: np.ndarray, region: np.ndarray, least: float) -> float:
    """Return the standard deviation of the noise, estimated from the median absolute deviation, or `least` if greater.

    Args:
        grey: (height, width).
        level: of the background, (height, width).
        region: mask (bool) of the pixels that count.
        least: in grey levels.
    """
    found = _deviation(grey[_FEW] - level[_FEW], region[_FEW], least)
    if found > least:
        # shadows inflate the first estimate, the lines of a digit that fills the picture the second
        grey = grey.astype(np.float32)
        smooth = cv2.GaussianBlur(grey, (17, 17), 2, borderType=cv2.BORDER_REFLECT)
        found = min(found, _deviation((grey - smooth)[_FEW], region[_FEW], least))
    return found


def _deviation(off: np.ndarray, region: np.ndarray, least: float) -> float:
    return 1.4826 * _median(np.abs(off), region, least / 1.4826)
