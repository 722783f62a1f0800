"""Samples that stay in memory, and the order in which they are seen."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, DistributedSampler

from lenet_lightning.data import files
from lenet_lightning.data.files import IdxFile

Batch = tuple[Tensor, Tensor]

# what is drawn at random in training: each has seeds of its own
ORDER, DISTORTION, VARIANTS, ROWS = range(4)


def derive_seed(seed: int, *numbers: int) -> int:
    """Return a seed for torch that is a function of `seed` and `numbers`; those of other numbers are unrelated."""
    return int(np.random.SeedSequence(seed, spawn_key=numbers).generate_state(1, np.uint64)[0])


def split(val_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the validation and of the training samples among the 60,000, drawn with `seed`."""
    order = torch.randperm(files.TRAIN_SIZE, generator=Generator().manual_seed(seed))
    return order[:val_size], order[val_size:]


class ResidentDigits(Dataset[Batch]):
    """Images (N, 1, 28, 28), uint8, and labels (N,), int64, that stay in memory and are returned as whole batches."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    @classmethod
    def read(cls, root: Path, train: bool, name: str = "MNIST", four: Sequence[IdxFile] | None = None) -> Self:
        """Return the training or the test samples in `root`/`name`/raw; MNIST's unless other files are given.

        Raises:
            RunError: a file is missing, damaged or cannot be read.
        """
        pair = (four or files.FILES)[slice(2) if train else slice(2, 4)]
        images, labels = (files.read_idx(root / name / "raw" / file.name, file) for file in pair)
        return cls(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())

    def subset(self, indices: Tensor) -> "ResidentDigits":
        """Return copies of the samples at `indices`."""
        return ResidentDigits(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        """Return the image (1, 28, 28) and the label () at `index`."""
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Gather a batch at once: torch's DataLoader calls this in place of one __getitem__ for each sample."""
        at = torch.tensor(indices)
        return self.images.index_select(0, at), self.labels.index_select(0, at)


class EpochSampler(DistributedSampler[int]):
    """The share of process `rank`, from 0, in the indices below `size`: every `processes`-th, none of them twice.

    They are in order or, with a seed, in an order that is a function of (seed, epoch); Lightning calls `set_epoch`. By
    type it is a DistributedSampler because Lightning would share any other sampler out once more.
    """

    def __init__(self, size: int, processes: int = 1, rank: int = 0, seed: int | None = None) -> None:
        self.size, self.share, self.order_seed, self.epoch = size, slice(rank, size, processes), seed, 0

    def __iter__(self) -> Iterator[int]:
        if self.order_seed is None:
            return iter(range(self.size)[self.share])
        generator = Generator().manual_seed(derive_seed(self.order_seed, ORDER, self.epoch))
        return iter(torch.randperm(self.size, generator=generator)[self.share].tolist())

    def __len__(self) -> int:
        return len(range(self.size)[self.share])
