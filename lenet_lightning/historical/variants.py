"""Training samples of which each has a fixed number of distorted variants, shown in turn."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Generator, Tensor

from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.data.dataset import VARIANTS, Batch, ResidentDigits, derive_seed


class VariedDigits(ResidentDigits):
    """Samples shown as they are or as one of their variants: in n + 1 epochs each sample is shown once as each of them.

    So 60,000 samples with nine variants are the 600,000 of the second experiment in LeCun et al. 1998, section III.C,
    of which any 60,000 in a row show each sample once.

    Args:
        images: (N, 1, 28, 28), uint8.
        labels: (N,), int64.
        distortion: what makes the variants.
        variants: how many each sample has beside itself.
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


class VariedMNIST(MNISTDataModule):
    """MNIST of which each training sample has a fixed number of distorted variants.

    Args:
        variants: how many each sample has, shown in turn with the sample itself.
        kwargs: as of MNISTDataModule; `distortion` makes the variants.

    Raises:
        ValueError: the distortion does nothing, or weakens.
    """

    def __init__(self, variants: PositiveInt = 9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.variants = variants
        if not self.distortion:
            raise ValueError(f"data.variants must be 0 where data.distortion does nothing, got {variants}")
        if self.distortion.end != 1:
            raise ValueError(f"data.variants must be 0 where data.distortion weakens, got {variants}")

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` needs, and make the variants of the training samples for a fit."""
        super().setup(stage)
        if stage in ("fit", None):
            images, labels = self.originals.images, self.originals.labels
            seed = partial(derive_seed, self.seed, VARIANTS)
            self.train = VariedDigits(images, labels, self.distortion, self.variants, seed, self._epoch)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def augment(self, images: Tensor) -> Tensor:
        """Return training images as they are: they are variants already."""
        return images
