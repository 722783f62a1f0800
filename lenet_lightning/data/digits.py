"""Digits that stay in memory."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lenet_lightning.data import source

Batch = tuple[Tensor, Tensor]


class ResidentDigits(Dataset):
    """Digits that stay in memory as bytes and are handed out as finished batches.

    Args:
        images: (N, 1, 28, 28), uint8.
        labels: (N,), int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    @classmethod
    def read(cls, root: Path, train: bool) -> "ResidentDigits":
        """Read the 60,000 or the 10,000.

        Raises:
            RunError: a file is missing, damaged or cannot be read.
        """
        images, labels = source.arrays(root, train)
        return cls(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())

    def subset(self, indices: Tensor) -> "ResidentDigits":
        """Give copies of the digits at `indices`."""
        return ResidentDigits(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Gather a batch at once: torch's DataLoader asks for this before it would ask for each digit."""
        at = torch.tensor(indices)
        return self.images.index_select(0, at), self.labels.index_select(0, at)
