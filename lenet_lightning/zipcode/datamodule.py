"""Rows of MNIST digits as a LightningDataModule: of training digits made as they are asked for, others once."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils.data import Dataset

from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.data.dataset import ROWS, Batch, ResidentDigits
from lenet_lightning.errors import UsageError
from lenet_lightning.rows.decoding import NO_DIGIT
from lenet_lightning.rows.style import KINDS, MIXTURES, Mixture
from lenet_lightning.rows.synthesis import Writer

WIDTH = 128  # of the rows that are trained on, pixels
MOST = 9  # digits of a row
JUDGED_WIDTH = 208  # of those of validation and test: five digits far apart fit
JUDGED_SEED = 1990
PER_KIND = {"val": 500, "test": 200}


class WrittenRows(Dataset[Batch]):
    """Rows that are made when they are asked for: each a function of the seed, the epoch and its index.

    Args:
        digits: of which they are made.
        styles: how they look.
        size: how many an epoch has.
        seed: of the training.
        epoch: a function that returns the epoch, numbered from 0.
    """

    def __init__(self, digits: ResidentDigits, styles: Mixture, size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.writer, self.styles = writer_of(digits), styles
        self.size, self.seed, self.epoch = size, seed, epoch

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Batch:
        """Return the row (1, 28, 128) and the digits (9,) at `index`."""
        rows, digits = self.__getitems__([index])
        return rows[0], digits[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Make a batch at once: rows (N, 1, 28, 128), uint8, and digits (N, 9), int64."""
        seeds = (SeedSequence(self.seed, spawn_key=(ROWS, self.epoch(), index)) for index in indices)
        return stacked([self.writer.row(self.styles, seed, WIDTH) for seed in seeds])


class RowsMNIST(MNISTDataModule):
    """MNIST's digits as rows: new rows of training digits in each epoch, the same of validation and test digits always.

    Batches are rows (N, 1, 28, W), float32, pixels in [0, 1], and their digits (N, 9), NO_DIGIT after the last.
    Validation has 500 rows of five digits of each kind in KINDS, the test 200, one kind after the other.

    Args:
        rows: how many an epoch of training has.
        styles: `all` that it should read, or mostly `neat` rows, to end with.
        kwargs: as of MNISTDataModule, without distortion: the rows' styles vary them.

    Raises:
        ValueError: there is a distortion, or no such styles.
    """

    def __init__(self, rows: PositiveInt = 32_000, styles: Literal["all", "neat"] = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if styles not in MIXTURES:
            raise ValueError(f"data.styles must be one of {', '.join(MIXTURES)}, got {styles}")
        self.rows, self.styles = rows, styles
        if self.distortion:
            raise ValueError("data.distortion must be all 0 with data.rows: rows are varied by their own styles")

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` needs, and write the rows of validation or test.

        Raises:
            UsageError: the model reads single digits.
        """
        if self.trainer and self.trainer.lightning_module.hparams.get("network") != "lenet5_swept":
            raise UsageError(f"data.rows must be 0 unless model.network is lenet5_swept, got {self.rows}")
        super().setup(stage)
        if stage in ("test", "predict", None):
            self.test = judged(self.test, PER_KIND["test"])
        if stage in ("test", "predict"):
            return
        if self.val_size:
            self.val = judged(self.val, PER_KIND["val"])
        if stage in ("fit", None):
            self.train = WrittenRows(self.originals, MIXTURES[self.styles], self.rows, self.seed, self._epoch)  # type: ignore[assignment]  # as a data set it serves the same

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _input(self, batch: Any, distorted: bool = False) -> Batch:
        """Return the network's input, made of bytes; it normalises by itself."""
        rows, digits = batch
        return rows.float().div_(255), digits


def writer_of(digits: ResidentDigits) -> Writer:
    """Return who writes with these digits."""
    return Writer(digits.images.squeeze(1).numpy(), digits.labels.numpy())


def judged(digits: ResidentDigits, per_kind: int, seed: int = JUDGED_SEED) -> ResidentDigits:
    """Return so many rows of each kind, made of these digits."""
    writer = writer_of(digits)
    seeds = SeedSequence(seed).spawn(per_kind * len(KINDS))
    styles = [style for style in KINDS.values() for _ in range(per_kind)]
    rows = [writer.row(((1, style),), each, JUDGED_WIDTH) for style, each in zip(styles, seeds, strict=True)]
    return ResidentDigits(*stacked(rows))


def stacked(rows: list[tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]]) -> tuple[Tensor, Tensor]:
    """Return rows of one width as a batch of bytes (N, 1, 28, W) and digits (N, 9)."""
    digits = torch.full((len(rows), MOST), NO_DIGIT)
    for at, (_, written) in enumerate(rows):
        digits[at, : len(written)] = torch.tensor(written, dtype=torch.long)
    return torch.from_numpy(np.stack([row for row, _ in rows])).unsqueeze(1), digits
