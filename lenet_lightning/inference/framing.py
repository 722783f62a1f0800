"""Find the digit in a grey picture and frame it as MNIST does.

MNIST's digits were cut out of their forms, fitted into 20 x 20 pixels with their proportions kept, and put into 28 x 28
so that their centre of mass is in the middle (LeCun et al. 1998, section III.A).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 28  # of the image
BOX = 20  # that the digit is fitted into
CENTRE = 14  # the row and the column that hold the centre of mass of MNIST's digits

# in pixels: the longest side of the picture in which ink is searched, and of the close-up of a digit
_SEARCH = 400
_CLOSE = 80

# line widths in pixels of a close-up: 99 % of MNIST's lines are wider than the first, half of them than the second
_THIN, _USUAL = 6.5, 10.5
# lines are narrower than this part of the picture's longest side
_WIDEST = 0.35
# ink differs from its background by more than this, of 256 grey levels
_LEAST_CONTRAST = 14
# ink begins at this part of its full strength
_EDGE = 0.4

# more pieces are texture or noise; grouping them would take minutes
_MOST_PIECES = 200

_ALL_AROUND = np.ones((3, 3), bool)


def is_framed(ink: np.ndarray) -> bool:
    """Return whether an image (height, width), uint8, bright on black, is already framed as MNIST frames digits."""
    inked = ink > 16
    if ink.shape != (SIDE, SIDE) or not inked.any():
        return False
    longest = max(np.ptp(np.nonzero(inked.any(axis))[0]) + 1 for axis in (0, 1))
    off_centre = np.abs(np.subtract(ndimage.center_of_mass(ink), CENTRE)).max()
    return bool(BOX - 1 <= longest <= BOX and off_centre < 0.6)


@dataclass(frozen=True)
class Found:
    """The digits found in a picture.

    Attributes:
        digits: images (28, 28), uint8, bright on black; none if the picture is blank.
        apart: how many separate digits there seem to be.
    """

    digits: list[np.ndarray]
    apart: int


def find(grey: np.ndarray, invert: str, line: bool = False) -> Found:
    """Return the digit in a grey picture, or each digit of a row, left to right.

    Uneven light is corrected; specks and anything along the border of the picture or of a sheet in it are ignored.

    Args:
        grey: (height, width), uint8.
        invert: whether the ink is lighter than the background: "yes", "no", or "auto" to detect it.
        line: whether the picture holds a row of digits.
    """
    small, by = _to_search(grey)
    region = _sheet(small)
    ring = region & ~ndimage.binary_erosion(region, iterations=max(1, round(0.04 * max(small.shape))))
    # further tries if nothing is found: a shadow's edge may cross the ink, or the ink may fill the ring
    for start, widest in ((ring, _WIDEST), (ring, _WIDEST / 3), (region, _WIDEST)):
        ground = _ground(small, region, start)
        noise = _noise(small, ground, region)
        inks = {sign: _narrow(sign * (small - ground), widest, region) for sign in _SIGNS[invert]}
        pieces = {sign: _pieces(ink, region, noise) for sign, ink in inks.items()}
        sign = max(inks, key=lambda sign: np.square(inks[sign][pieces[sign]]).sum())
        if pieces[sign].any():
            break
    apart = _apart(pieces[sign])
    close = [_close_up(grey, by, ground, sign, digit) for digit in (apart if line else _together(pieces[sign]))]
    return Found([_frame(strength) for strength in close if strength.any()], len(apart))


_SIGNS = {"auto": (1, -1), "yes": (1,), "no": (-1,)}


def _to_search(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a float32 copy of a size to search in, and how many pixels of the picture one of its pixels stands for."""
    image, longest = Image.fromarray(grey), max(grey.shape)
    if longest > _SEARCH:
        by = -(-longest // _SEARCH)
        return np.asarray(image.reduce(by), np.float32), by
    times = max(1, _SEARCH // 4 // longest)
    size = (image.width * times, image.height * times)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32), 1 / times


def _sheet(grey: np.ndarray) -> np.ndarray:
    """Return the mask (bool) of a sheet on something darker or a board on something lighter; all true if none."""
    for picture in (grey, 255 - grey):
        labels, count = ndimage.label(ndimage.binary_opening(picture > _otsu(picture), _ALL_AROUND))
        if not count:
            continue
        sheet = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
        whole = ndimage.binary_fill_holes(sheet)
        area, ink = whole.sum(), (whole & ~sheet).sum()
        if not (0.15 * grey.size < area < 0.98 * grey.size and 0.001 * area < ink < 0.3 * area):
            continue
        # a thick zero also encloses another grey; but it is round, and its line is thin for its size
        thickness = ndimage.distance_transform_edt(np.pad(sheet, 1)).max()
        if area > 0.85 * _rectangle(whole) and thickness > 0.1 * area**0.5:
            # its edge is blurred and casts a shadow
            return ndimage.binary_erosion(whole, iterations=max(2, round(0.02 * area**0.5)))
    return np.ones(grey.shape, bool)


def _otsu(values: np.ndarray) -> float:
    """Return the threshold that splits the values into two groups with the least variance within (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    sums = (counts * (edges[1:] + edges[:-1]) / 2).cumsum()
    below = counts.cumsum()[:-1]
    above = values.size - below
    between = below * above * (sums[:-1] / below.clip(1) - (sums[-1] - sums[:-1]) / above.clip(1)) ** 2
    return edges[1 + between.argmax()]


def _rectangle(region: np.ndarray) -> float:
    """Return the area of the smallest rectangle, at any angle, that holds the region."""
    y, x = np.nonzero(region & ~ndimage.binary_erosion(region))
    angle = np.deg2rad(np.arange(90))[:, None]
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return ((np.ptp(along, 1) + 1) * (np.ptp(across, 1) + 1)).min()


def _ground(grey: np.ndarray, region: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the background's level at each pixel, float32: a plane, then a quadric, fitted robustly to most pixels."""
    y, x = (axis.astype(np.float32) for axis in np.mgrid[-1 : 1 : grey.shape[0] * 1j, -1 : 1 : grey.shape[1] * 1j])
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], -1)
    few = np.s_[::2, ::2]  # enough to fit six coefficients
    levels, all_terms, region, start = grey[few], terms[few], region[few], start[few]
    ground = np.full(levels.shape, np.median(levels[start] if start.any() else levels), np.float32)
    weights = np.array([ground.flat[0]], np.float32)
    near = start
    # at first only where no ink is expected: a bold digit could pass for the background
    for where, kept in [(start, 3)] * 3 + [(region, 3)] * 3 + [(region, 6)] * 4:
        off = np.abs(levels - ground)
        near = where & (off < max(20, 4.5 * np.median(off[near]))) if near.any() else near
        if near.sum() < 20:
            break
        weights = np.linalg.lstsq(all_terms[near][:, :kept], levels[near], rcond=None)[0]
        ground = all_terms[..., :kept] @ weights
    return terms[..., : len(weights)] @ weights


def _noise(grey: np.ndarray, ground: np.ndarray, region: np.ndarray) -> float:
    """Return the standard deviation of the noise, in grey levels, estimated from the median absolute deviation."""
    # shadows inflate the first estimate, the lines of a digit that fills the picture the second
    off = (grey - ground, grey - ndimage.gaussian_filter(grey, 2))
    return 1.4826 * min(float(np.median(np.abs(each[region]))) for each in off)


def _narrow(above: np.ndarray, widest: float, region: np.ndarray | bool = True) -> np.ndarray:
    """Keep the lines in `above`, how far each pixel is over its background; remove what is wider: shadows, stains."""
    above = np.where(region, above, 0).clip(0)
    wider = (1 + round(widest * max(above.shape)),) * 2
    eroded = ndimage.grey_erosion(ndimage.gaussian_filter(above, 1), wider, mode="constant")
    return np.minimum(above, above - ndimage.grey_dilation(eroded, wider, mode="constant"))


def _pieces(ink: np.ndarray, region: np.ndarray, noise: float) -> np.ndarray:
    """Return the mask (bool) of the ink, without noise and without what runs along the region's border."""
    mask = ink > max(5 * noise, _LEAST_CONTRAST)
    border = region & ~ndimage.binary_erosion(region)
    for edge in (_EDGE, 0):
        labels, count = ndimage.label(mask, _ALL_AROUND)
        if not count:
            return mask
        outline = mask & ~ndimage.binary_erosion(mask)
        area, around, touching = (
            np.bincount(labels[where], minlength=count + 1)[1:] for where in (mask, outline, mask & border)
        )
        # a table's edge, a shadow or a binding runs along the border; a digit at most touches it
        good = touching < 0.35 * around
        if good.any() and area[good & (touching == 0)].max(initial=0) >= 0.1 * area[good].max():
            good &= touching == 0
        if not good.any():
            # a digit that fills the picture
            filling = [[part.stop - part.start for part in box] for box in ndimage.find_objects(labels)]
            good = (touching < 0.7 * border.sum()) & (np.array(filling) > 0.9 * np.array(mask.shape)).all(1)
        good[np.argsort(np.where(good, -area, 0), kind="stable")[_MOST_PIECES:]] = False
        mask &= np.append(good, False)[labels - 1]
        if edge and mask.any():
            mask &= ink > edge * _full(ink[mask])
    return mask


def _full(strengths: np.ndarray) -> float:
    """Return the full strength of ink: a high percentile, so that no single pixel decides."""
    return float(np.percentile(strengths[strengths >= _EDGE * np.percentile(strengths, 98)], 75))


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Return (n, 2, 2): the start and stop of each piece's rows and of its columns."""
    return np.array([[(part.start, part.stop) for part in box] for box in ndimage.find_objects(labels)])


def _together(mask: np.ndarray) -> list[np.ndarray]:
    """Return the mask (bool) of the one digit, as a list: the largest piece and those near it, directly or in turn."""
    labels, count = ndimage.label(mask, _ALL_AROUND)
    if not count:
        return []
    area, boxes = np.bincount(labels.ravel())[1:], _boxes(labels)
    main = area.argmax()
    apart = (boxes[:, None, :, 0] - boxes[None, :, :, 1]).max(2)
    near = np.maximum(apart, apart.T) < 0.4 * np.ptp(boxes[main], axis=1).max()
    digit = _grown(np.arange(count) == main, near & (area >= 0.03 * area[main]))
    mask = np.append(digit, False)[labels - 1]
    # anything smaller is a speck on a blank sheet
    return [mask] if max(np.ptp(where) + 1 for where in np.nonzero(mask)) >= max(4, 0.015 * max(mask.shape)) else []


def _apart(mask: np.ndarray) -> list[np.ndarray]:
    """Return the mask (bool) of each digit of a row, left to right; pieces above each other are one digit."""
    labels, count = ndimage.label(mask, _ALL_AROUND)
    boxes = _boxes(labels)
    digits, left = [], np.ones(count, bool)
    for piece in range(count):
        if left[piece]:
            start, stop = boxes[:, 1].T
            shared = np.minimum(stop[:, None], stop) - np.maximum(start[:, None], start)
            together = shared > 0.4 * np.minimum((stop - start)[:, None], stop - start)
            digit = _grown(np.arange(count) == piece, together)
            left &= ~digit
            digits.append(np.append(digit, False)[labels - 1])
    heights = [np.ptp(np.nonzero(digit)[0]) + 1 for digit in digits]
    digits = [digit for digit, height in zip(digits, heights, strict=True) if height >= 0.4 * max(heights)]
    return sorted(digits, key=lambda digit: np.nonzero(digit)[1].min())


def _grown(members: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Return the members (n,) and all that `linked` (n, n) connects with them, directly or through others."""
    while (grown := members | linked[members].any(0)).sum() > members.sum():
        members = grown
    return members


def _close_up(grey: np.ndarray, by: float, ground: np.ndarray, sign: int, mask: np.ndarray) -> np.ndarray:
    """Return the strength of a digit's ink, 0 to 1, resampled from the full picture to `_CLOSE` pixels a side."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    margin = 1 + 0.2 * max(np.ptp(rows) + 1, np.ptp(columns) + 1)
    top, left = max(0.0, rows[0] - margin), max(0.0, columns[0] - margin)
    bottom, right = min(mask.shape[0], rows[-1] + 1 + margin), min(mask.shape[1], columns[-1] + 1 + margin)
    scale = _CLOSE / (max(np.ptp(rows), np.ptp(columns)) + 1)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))

    def close(image: np.ndarray, by: float = 1) -> np.ndarray:
        box = (left * by, top * by, min(right * by, image.shape[1]), min(bottom * by, image.shape[0]))
        # Pillow's bicubic averages when it reduces
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box), np.float32)

    ink = _narrow(sign * (close(grey, by) - close(ground)), _WIDEST)
    ink = ink * close(ndimage.binary_dilation(mask, _ALL_AROUND, 2).astype(np.float32))
    strong = ink[ink > _LEAST_CONTRAST / 2]
    return (ink / _full(strong)).clip(0, 1) if len(strong) else np.zeros_like(ink)


def _thick(strength: np.ndarray) -> np.ndarray:
    """Thicken lines that are thinner than MNIST's to the usual width."""
    inked = np.pad(strength > 0.5, 1)
    outline = inked & ~ndimage.binary_erosion(inked)
    width = 2 * inked.sum() / max(1, outline.sum())
    if width >= _THIN:
        return strength
    radius = round((_USUAL - width) / 2)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return ndimage.grey_dilation(np.pad(strength, radius), footprint=x * x + y * y <= radius * radius)


def _frame(strength: np.ndarray) -> np.ndarray:
    """Fit ink into the box and move its centre of mass to the middle; return (28, 28), uint8."""
    strength = _thick(strength)
    inked = strength > 0.5
    rows, columns = np.nonzero(inked.any(1))[0], np.nonzero(inked.any(0))[0]
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = BOX / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    digit = np.asarray(Image.fromarray(strength).resize(size, Image.Resampling.BOX, box))
    y, x = ndimage.center_of_mass(digit)
    top = min(max(0, CENTRE - round(y)), SIDE - digit.shape[0])
    left = min(max(0, CENTRE - round(x)), SIDE - digit.shape[1])
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = (digit * (255 / digit.max())).round()
    return image
