"""Find a sheet of paper on a table, or a board on a wall, in a grey picture."""

import cv2
import numpy as np

from lenet_lightning.inference import masks

# of the picture's border: at least so much is beside the sheet; what is less is shade, or ink that the border cuts
_LEAST_BESIDE = 0.2
# in grey levels: three quarters of the sheet's edge are a step of so many; light that falls off has none
_LEAST_STEP = 15

_ALL_AROUND = np.ones((3, 3), np.uint8)


def found(grey: np.ndarray) -> np.ndarray:
    """Return the mask (bool) of a sheet on something darker or a board on something lighter; all true if none."""
    _, light = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    for bright in (light, 1 - light):
        opened = cv2.morphologyEx(bright, cv2.MORPH_OPEN, _ALL_AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        _, labels = cv2.connectedComponents(opened, connectivity=4)
        areas = np.bincount(labels.ravel())[1:]
        if areas.max(initial=0) <= 0.1 * grey.size:  # too little for a sheet, by the conditions below
            continue
        sheet = (labels == 1 + areas.argmax()).view(np.uint8)
        if all(edge.all() for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1])):
            continue  # its outline is the picture's, as in most pictures
        (outline,), _ = cv2.findContours(sheet, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        whole = cv2.drawContours(np.zeros_like(sheet), [outline], 0, 1, cv2.FILLED)
        area = cv2.countNonZero(whole)
        if not 0.15 * grey.size < area < 0.98 * grey.size:
            continue
        pale = not 0.001 * area < area - areas.max() < 0.3 * area
        if pale and not _has_pale_ink(grey, whole):
            continue
        # a thick zero also encloses another grey; but it is round, and its line is thin for its size
        thickness = cv2.distanceTransform(np.pad(sheet, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
        _, sides, _ = cv2.minAreaRect(outline)  # between the middles of pixels
        # ink that the border cuts out of paper leaves no rectangle
        flat = area > (0.97 if pale else 0.85) * (sides[0] + 1) * (sides[1] + 1) and thickness > 0.1 * area**0.5
        if flat and _has_edges(grey, whole, outline[:, 0]):
            # its edge is blurred and casts a shadow
            return masks.eroded(whole, _blur(area))
    return np.ones(grey.shape, bool)


def _has_pale_ink(grey: np.ndarray, sheet: np.ndarray) -> bool:
    """Return whether there is ink on the sheet (0 and 1) that differs less from it than what is beside it."""
    inside = grey[masks.eroded(sheet, _blur(cv2.countNonZero(sheet)))].astype(np.float32)
    if not len(inside):
        return False
    ink = np.count_nonzero(np.abs(inside - np.median(inside)) > _LEAST_STEP)
    return bool(0.001 * len(inside) < ink < 0.3 * len(inside))


def _blur(area: int) -> int:
    """Return over how many pixels the edge of a sheet of that area may be blurred."""
    return max(2, round(0.02 * area**0.5))


def _has_edges(grey: np.ndarray, sheet: np.ndarray, outline: np.ndarray) -> bool:
    """Return whether the sheet (0 and 1), whose outline is (n, 2), ends at edges inside the picture."""
    border = np.concatenate([sheet[0], sheet[-1], sheet[1:-1, 0], sheet[1:-1, -1]])
    if np.count_nonzero(border == 0) < _LEAST_BESIDE * border.size:
        return False
    near = _blur(cv2.countNonZero(sheet))
    size = (2 * near + 1,) * 2
    x, y = outline[((outline >= near) & (outline < np.subtract(sheet.shape[::-1], near))).all(1)].T
    if not len(x):
        return False
    means = []
    for mask in (sheet, 1 - sheet):
        mask = mask.astype(np.float32)
        means.append(cv2.blur(grey * mask, size)[y, x] / np.maximum(cv2.blur(mask, size)[y, x], 1e-6))
    low, high = np.percentile(means[0] - means[1], (25, 75))
    return bool(low > _LEAST_STEP or high < -_LEAST_STEP)
