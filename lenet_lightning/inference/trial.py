"""Try weights of others on MNIST's validation digits: a network of the right shapes may be for something else."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenet_lightning.data import files
from lenet_lightning.errors import RunError

# the data module's own choice where nothing else is configured
ROOT, SIZE, SPLIT_SEED = Path("data"), 5_000, 0

# LeNets have 98 % and more; those of other data, pixels, activations or pooling have less, usually far less
LEAST = 0.9


# after which no more digits are tried; our networks take 0.5 s for all
_MOST_SECONDS = 5


@dataclass(frozen=True)
class Trial:
    """How many of the first `digits` validation digits a network reads right."""

    right: int
    digits: int

    @property
    def accuracy(self) -> float:
        """Return the fraction."""
        return self.right / self.digits


def on_validation_digits(logits: Callable[[np.ndarray], np.ndarray]) -> Trial | None:
    """Return how well a network reads MNIST's validation digits, or None unless MNIST is below ROOT.

    Args:
        logits: from images (N, 28, 28), uint8, to (N, 10). Of a slow network fewer digits are tried.
    """
    raw = files.expand(ROOT) / "MNIST" / "raw"
    try:
        images, labels = (files.read_idx(raw / file.name, file) for file in files.FILES[:2])
    except RunError:
        return None
    from lenet_lightning.data.dataset import split  # imports torch, which an ONNX file does not need

    order = split(SIZE, SPLIT_SEED)[0].numpy()
    right = tried = 0
    start = time.monotonic()
    while not tried or (tried < SIZE and time.monotonic() - start < _MOST_SECONDS):
        # twice as many as before, so that the time is soon known
        some = order[tried : 2 * tried + 1]
        right += int((logits(images[some]).argmax(1) == labels[some]).sum())
        tried += len(some)
    return Trial(right, tried)
