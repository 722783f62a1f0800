"""Read strips with rows of digits. Needs torch, and no Lightning."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.metadata import METADATA_KEY, check_metadata, check_size, parse_object
from lenet_lightning.rows import places
from lenet_lightning.rows.decoding import NO_DIGIT, alignment, forward_score, likely_strings
from lenet_lightning.rows.network import HEIGHT, NONE, STEP, SweptLeNet5
from lenet_lightning.rows.reading import Digit, Reading

SHIPPED = Path(__file__).with_name("rows.safetensors")
NARROWEST, WIDEST = 8, 1 << 17  # columns of a strip
# columns to the right and rows up by which a strip is moved, and read each time: pooling halves the resolution, so the
# network sees other maxima of a digit that is moved by one pixel
VIEWS = ((0, 0), (1, 0), (0, 1))
LIKELY = 3  # strings of each view that are compared
COLUMNS = 1 << 12  # that pass the network at once, of all strips together: some 100 MB


class RowReader:
    """Reads rows of any number of digits that may touch.

    Args:
        weights: a .safetensors file of SweptLeNet5's; None: the shipped ones.

    Raises:
        UsageError: there is no such file.
        RunError: it is damaged, or has weights of another network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self.network, self.temperature = _load(weights or SHIPPED)

    def read(self, strips: Sequence[NDArray[np.uint8]]) -> list[Reading]:
        """Return what is read of strips; it does not depend on which others there are.

        Args:
            strips: (28, W), uint8, W from 8 to 131,072: ink bright on black, its digits about 20 pixels high (those of
                full height fill rows 4 to 23); margins may be missing.

        Raises:
            UsageError: a strip is of another shape or type.
        """
        return [reading_of(logits, strip) for logits, strip in zip(self.logits(strips), strips, strict=True)]

    def logits(self, strips: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Return the calibrated logits (V, 11, T) of each strip in its V views; strips and errors as for `read`."""
        for at, strip in enumerate(strips):
            check(strip, at)
        found: dict[int, Tensor] = {}
        for chosen in _batches([strip.shape[1] for strip in strips]):
            views = self.views([strips[at] for at in chosen])
            found |= {at: logits / self.temperature for at, logits in zip(chosen, views, strict=True)}
        return [found[at] for at in range(len(strips))]

    def views(self, strips: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Return the logits (V, 11, 1 + ceil(W / 2)) of each strip (28, W) in its V views, before the temperature."""
        width = max(strip.shape[1] for strip in strips)
        padded = torch.zeros(len(VIEWS), len(strips), 1, HEIGHT, width + 1 + (width + 1) % STEP)
        for at, strip in enumerate(strips):
            pixels = torch.from_numpy(np.array(strip))
            for view, (right, up) in zip(padded, VIEWS, strict=True):
                view[at, 0, : HEIGHT - up, right : right + strip.shape[1]] = pixels[up:]
        with torch.inference_mode():
            logits = self.network(padded.flatten(0, 1).div_(255)).unflatten(0, padded.shape[:2])
        return [logits[:, at, :, : 1 + (strip.shape[1] + 1) // STEP] for at, strip in enumerate(strips)]


def check(strip: NDArray[np.uint8], at: int) -> None:
    """Raise UsageError if a strip, number `at`, is none."""
    if not isinstance(strip, np.ndarray) or strip.dtype != np.uint8 or strip.ndim != 2 or strip.shape[0] != HEIGHT:
        got = f"{strip.dtype} {strip.shape}" if isinstance(strip, np.ndarray) else type(strip).__name__
        raise UsageError(f"strips[{at}]: must be uint8 of shape (28, W), got {got}")
    if not NARROWEST <= strip.shape[1] <= WIDEST:
        raise UsageError(f"strips[{at}]: must be from {NARROWEST} to {WIDEST:,} columns wide, has {strip.shape[1]:,}")


def reading_of(logits: Tensor, strip: NDArray[np.uint8]) -> Reading:
    """Return what the logits (V, 11, T) of a strip (28, W) in its views say: the mean of the views' probabilities."""
    scores = logits.double().log_softmax(1).permute(0, 2, 1)
    found = list(dict.fromkeys(string for view in scores.exp().numpy() for string in likely_strings(view)[:LIKELY]))
    # the search has left out what was improbable on the way: the sum over all alignments is taken again
    sums = string_scores(logits, found)
    order = sums.argsort(descending=True, stable=True).tolist()
    best = found[order[0]]
    second = "".join(map(str, found[order[1]])) if len(order) > 1 else ""
    digits = _digits(scores, best, strip) if best else ()
    return Reading(digits, min(1.0, float(sums[order[0]].exp())), second)


def string_scores(logits: Tensor, strings: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the log-probabilities (S,) of strings: of the mean over the views, whose logits are (V, 11, T)."""
    digits = torch.full((len(strings), max([1, *map(len, strings)])), NO_DIGIT)
    for at, string in enumerate(strings):
        digits[at, : len(string)] = torch.tensor(string, dtype=torch.long)
    each = [-forward_score(view.double().expand(len(strings), -1, -1), digits) for view in logits]
    return torch.stack(each).logsumexp(0) - math.log(len(each))


def _digits(scores: Tensor, string: tuple[int, ...], strip: NDArray[np.uint8]) -> tuple[Digit, ...]:
    alone, centres = [], []
    for view, (right, _) in zip(scores, VIEWS, strict=True):
        spans, outputs = alignment(view.numpy(), string), view.exp().numpy()
        centres.append([STEP * (first + last) / 2 - right for first, last in spans])
        # the positions of each digit alone: to halfway to its neighbours
        halves = [(a[1] + b[0] + 1) // 2 for a, b in pairwise(spans)]
        parts = zip([0, *halves], [*halves, len(view)], strict=True)
        alone.append([_alone(outputs[a:b]) for a, b in parts])
    inks = places.inks(strip, np.mean(centres, axis=0).tolist())
    return tuple(
        Digit(digit, float(sums[digit]), sums / sums.sum(), left, right)
        for digit, sums, (left, right) in zip(string, np.mean(alone, axis=0), inks, strict=True)
    )


def _alone(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities (10,) that a digit is at some of these positions (T, 11), and no other at any."""
    before, within, after = 1.0, np.zeros(NONE), np.zeros(NONE)
    for outputs in probabilities:
        within, after = (before + within) * outputs[:NONE], (within + after) * outputs[NONE]
        before *= outputs[NONE]
    return (within + after).clip(1e-300, 1.0)


def _batches(widths: list[int]) -> Iterator[list[int]]:
    """Return the strips by number, those of about the same width together."""
    batch = list[int]()
    for at in sorted(range(len(widths)), key=widths.__getitem__):
        if batch and (len(batch) + 1) * widths[at] > COLUMNS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _load(path: Path) -> tuple[SweptLeNet5, float]:
    shown = printable(path)
    if not path.is_file():
        raise UsageError(
            f"{shown}: no such weights file; the package has its own, which are taken unless others are given"
        )
    try:
        check_size(path)
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY, "{}")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"{shown}: must be a .safetensors file, is damaged or something else: {one_line(error)}"
        ) from error
    network = SweptLeNet5()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{shown}: must have weights of SweptLeNet5: {one_line(error)}") from error
    if broken := [name for name, values in state.items() if not values.isfinite().all()]:
        raise RunError(f"{shown}: has weights that are not finite in {', '.join(broken)}; train again")
    # the names of `network` are those of single digits'
    fields = {name: value for name, value in parse_object(path, text).items() if name != "network"}
    temperature = float(check_metadata(path, fields).get("temperature", 1.0))
    return network.eval().requires_grad_(False), temperature
