"""Training digits of which each has a fixed number of distorted variants, shown in turn."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.dataset import Batch, ResidentDigits


class VariedDigits(ResidentDigits):
    """Digits shown as they are or as one of their variants: in n + 1 epochs each digit is shown once as each of them.

    So 60,000 digits with nine variants are the 600,000 of the second experiment in LeCun et al. 1998, section III.C, of
    which any 60,000 in a row show each digit once.

    Args:
        images: (N, 1, 28, 28), uint8.
        labels: (N,), int64.
        distortion: what makes the variants.
        variants: how many each digit has beside itself.
        seed: of the variants, as a function of the numbers that distinguish them.
        epoch: a function that returns the epoch, numbered from 0.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        distortion: Distortion,
        variants: int,
        seed: Callable[..., int],
        epoch: Callable[[], int],
    ) -> None:
        super().__init__(images.clone(), labels)
        self._originals = images
        self._distortion = distortion
        self._kinds = variants + 1
        self._seed = seed
        self._first = torch.randint(self._kinds, (len(labels),), generator=Generator().manual_seed(seed()))
        self._epoch = epoch
        self._shown: int | None = None

    def __getitems__(self, indices: list[int]) -> Batch:
        """Gather a batch of what belongs to the epoch."""
        if self._shown != self._epoch():
            self._show(self._epoch())
        return super().__getitems__(indices)

    def _show(self, epoch: int) -> None:
        self._shown = epoch
        for first in range(self._kinds):
            digits, kind = self._first == first, (first + epoch) % self._kinds
            shown = self._originals[digits]
            if kind:
                generator = Generator().manual_seed(self._seed(first, kind))
                shown = self._distortion(shown.float(), generator).round_().byte()
            self.images[digits] = shown
