"""Find the lines of ruled or squared paper, of boxes and of tables in a mask of ink, and take them out."""

import numpy as np

# lines lean by at most this, in pixels down per pixel across; a step moves the end of a line by about a pixel
_LEAN = 0.12
# of the picture's width or height: what a line covers at least, and how thick it is at most
_LONG, _THICK = 0.55, 0.06
_DENSE = 0.7  # of its length, at least, that is not interrupted or crossed
_ALL = 0.9  # of the height, at least, that an upright line covers: a digit may be nearly as high as the picture
_MOST_INK = 0.25  # of the picture; more is texture
_MOST = 60  # lines each way


def without(mask: np.ndarray) -> np.ndarray:
    """Return the mask (height, width), bool, without straight lines across it; strokes that cross them stay."""
    across = _lines(mask, both_ends=False)
    down = _lines(mask.T, both_ends=True).T
    return mask & ~across & ~down


def _lines(mask: np.ndarray, both_ends: bool) -> np.ndarray:
    """Return the pixels (bool) of lines that run from left to right."""
    rows, columns = mask.shape
    taken = np.zeros_like(mask)
    runs = _run_lengths(mask)
    thick = max(2, round(_THICK * min(rows, columns)))
    thin = mask & (runs <= thick)
    if columns < 8 or not 0 < np.count_nonzero(thin) < _MOST_INK * mask.size:
        return taken
    found = 0
    y, x = np.nonzero(thin)
    leans = np.linspace(-_LEAN, _LEAN, 2 * max(1, round(_LEAN * columns / 2)) + 1)
    near = max(1, thick // 2)
    while found < _MOST and len(y):
        best = (0.0, 0.0, 0)
        for lean in leans:
            places = np.round(y - lean * (x - columns / 2)).astype(int)
            low = places.min()
            counts = np.bincount(places - low)
            # a line's edge is jagged: two rows at once
            counts = np.convolve(counts, [1, 1, 1], "same")
            place = int(counts.argmax())
            if counts[place] > best[0]:
                best = (float(counts[place]), lean, place + low)
        _, lean, place = best
        off = y - lean * (x - columns / 2) - place
        at = np.abs(off) <= near
        covered = np.zeros(columns, bool)
        covered[x[at]] = True
        # a stroke that crosses the line hides it
        along = np.arange(columns)
        middle = np.round(place + lean * (along - columns / 2)).astype(int).clip(0, rows - 1)
        start, stop = _extent(covered | mask[middle, along], max(3, round(0.06 * columns)))
        seen = np.count_nonzero(covered[start:stop])
        if seen < (_ALL if both_ends else _LONG) * columns or seen < _DENSE * (stop - start):
            break
        at &= (x >= start) & (x < stop)
        # the line's own thickness: what is much thicker there is a stroke that crosses it
        least = np.full(columns, np.inf)
        np.minimum.at(least, x[at], runs[y[at], x[at]])
        drop = at & (runs[y, x] <= max(2, 1.7 * np.median(least[np.isfinite(least)])))
        taken[y[drop], x[drop]] = True
        found += 1
        y, x = y[~at], x[~at]
    return taken


def _extent(covered: np.ndarray, gap: int) -> tuple[int, int]:
    """Return where the longest stretch of covered columns, with gaps of at most `gap`, starts and stops."""
    at = np.nonzero(covered)[0]
    parts = np.split(at, np.nonzero(np.diff(at) > gap)[0] + 1)
    longest = max(parts, key=len)
    return (int(longest[0]), int(longest[-1]) + 1) if len(longest) else (0, 0)


def _run_lengths(mask: np.ndarray) -> np.ndarray:
    """Return, for each pixel of the mask, how many pixels long its run from top to bottom is; 0 elsewhere."""
    padded = np.pad(mask, ((1, 1), (0, 0))).astype(np.int8)
    steps = np.diff(padded, axis=0).T  # by columns
    column, start = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    lengths = np.zeros(mask.T.shape, np.int32)
    change = np.zeros((mask.shape[1], mask.shape[0] + 1), np.int32)
    np.add.at(change, (column, start), stop - start)
    np.add.at(change, (column, stop), start - stop)
    lengths = change.cumsum(1)[:, :-1]
    return np.ascontiguousarray(lengths.T)
