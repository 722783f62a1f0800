"""Read strips with rows of digits. Needs torch, and no Lightning."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.metadata import METADATA_KEY, check_metadata, check_size, parse_object
from lenet_lightning.rows import places
from lenet_lightning.rows.decoding import NO_DIGIT, alignment, forward_score, likely_strings, log_probabilities
from lenet_lightning.rows.network import HEIGHT, STEP, SweptLeNet5
from lenet_lightning.rows.reading import Digit, Reading

SHIPPED = Path(__file__).with_name("rows.safetensors")
NARROWEST, WIDEST = 8, 1 << 17  # columns of a strip
COLUMNS = 1 << 13  # that pass the network at once, of all strips together: about 100 MB


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
        for at, strip in enumerate(strips):
            check(strip, at)
        readings: dict[int, Reading] = {}
        for chosen in _batches([strip.shape[1] for strip in strips]):
            for at, logits in zip(chosen, self._logits([strips[each] for each in chosen]), strict=True):
                readings[at] = read(logits / self.temperature, strips[at])
        return [readings[at] for at in range(len(strips))]

    def scorer(self, strip: NDArray[np.uint8]) -> Callable[[Sequence[str]], NDArray[np.float64]]:
        """Return a function from strings of digits to the log-probability of each, (N,), that the strip has them.

        Raises:
            UsageError: as `read`.
        """
        check(strip, 0)
        (logits,) = self._logits([strip])
        logits = logits.double() / self.temperature

        def score(strings: Sequence[str]) -> NDArray[np.float64]:
            digits = torch.full((len(strings), max(map(len, strings), default=1) or 1), NO_DIGIT)
            for at, string in enumerate(strings):
                digits[at, : len(string)] = torch.tensor([int(each) for each in string], dtype=torch.long)
            return -forward_score(logits[None].expand(len(strings), -1, -1), digits).numpy()

        return score

    def _logits(self, strips: list[NDArray[np.uint8]]) -> Iterator[Tensor]:
        """Return the logits (11, 1 + ceil(W / 2)) of each strip."""
        width = max(strip.shape[1] for strip in strips)
        width += width % STEP
        padded = torch.zeros(len(strips), 1, HEIGHT, width)
        for at, strip in enumerate(strips):
            padded[at, 0, :, : strip.shape[1]] = torch.from_numpy(np.ascontiguousarray(strip))
        with torch.inference_mode():
            logits = self.network(padded.div_(255))
        for each, strip in zip(logits, strips, strict=True):
            yield each[:, : 1 + (strip.shape[1] + 1) // STEP]


def check(strip: NDArray[np.uint8], at: int) -> None:
    """Raise UsageError if a strip, number `at`, is none."""
    if not isinstance(strip, np.ndarray) or strip.dtype != np.uint8 or strip.ndim != 2 or strip.shape[0] != HEIGHT:
        got = f"{strip.dtype} {strip.shape}" if isinstance(strip, np.ndarray) else type(strip).__name__
        raise UsageError(f"strips[{at}]: must be uint8 of shape (28, W), got {got}")
    if not NARROWEST <= strip.shape[1] <= WIDEST:
        raise UsageError(f"strips[{at}]: must be from {NARROWEST} to {WIDEST:,} columns wide, has {strip.shape[1]:,}")


def read(logits: Tensor, strip: NDArray[np.uint8]) -> Reading:
    """Return what the logits (11, T) of a strip (28, W) say."""
    scores = log_probabilities(logits[None])[:, 0].double()
    found = likely_strings(scores.exp().numpy())
    strings = torch.full((len(found), max(1, *map(len, found))), NO_DIGIT)
    for at, string in enumerate(found):
        strings[at, : len(string)] = torch.tensor(string, dtype=torch.long)
    # the search has left out what was improbable on the way: the sum over all alignments is taken again
    sums = -forward_score(logits[None].double().expand(len(found), -1, -1), strings)
    order = sums.argsort(descending=True, stable=True).tolist()
    best = found[order[0]]
    second = "".join(map(str, found[order[1]])) if len(order) > 1 else ""
    digits = _digits(scores, best, strip) if best else ()
    return Reading(digits, min(1.0, float(sums[order[0]].exp())), second)


def _digits(scores: Tensor, string: tuple[int, ...], strip: NDArray[np.uint8]) -> tuple[Digit, ...]:
    spans = alignment(scores.numpy(), string)
    centres = [STEP * (first + last) / 2 for first, last in spans]
    inks = places.inks(strip, centres)
    # the positions of each digit alone: to halfway to its neighbours
    halves = [(left[1] + right[0] + 1) // 2 for left, right in zip(spans, spans[1:], strict=False)]
    parts = [scores[a:b] for a, b in zip([0, *halves], [*halves, len(scores)], strict=True)]
    each = [_alone(part) for part in parts]
    return tuple(
        Digit(digit, float(sums[digit]), sums / sums.sum(), left, right)
        for digit, sums, (left, right) in zip(string, each, inks, strict=True)
    )


def _alone(scores: Tensor) -> NDArray[np.float64]:
    """Return the probabilities (10,) that a digit is at some of these positions (T, 11), and no other at any."""
    alone = scores[:, None].expand(-1, 10, -1).contiguous()
    length, one = torch.full((10,), len(scores)), torch.ones(10, dtype=torch.long)
    losses = F.ctc_loss(alone, torch.arange(10)[:, None], length, one, blank=10, reduction="none")
    return (-losses).exp().clamp(1e-300, 1.0).numpy()


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
