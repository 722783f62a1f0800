"""MNIST as Lightning takes it: resident in memory, split, batched, normalised on the device."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.datasets import MNIST

from lenet_lightning.data import source
from lenet_lightning.data.augment import Distortion
from lenet_lightning.errors import UsageError

TRAIN_SIZE = 60_000
EVAL_BATCH_SIZE = 1_000  # figures do not depend on it; 1,000 is quick and still small in memory

ValidationSize = restricted_number_type(
    "ValidationSize", int, [(">", 0), ("<", TRAIN_SIZE)], docstring=f"from 1 to {TRAIN_SIZE - 1:,}"
)

Batch = tuple[Tensor, Tensor]


class MNISTDataModule(LightningDataModule):
    """The 60,000 split into training and validation, and the 10,000 for the test.

    Batches are images (N, 1, 28, 28), float32, normalised, on the device of the module, and labels (N,), int64.
    The order of the training digits and their distortion are functions of the seed, the epoch and the process alone.

    Args:
        root: folder of the data, in torchvision's layout: <root>/MNIST/raw/.
        mirrors: addresses to download from, each the start of the four files' addresses; also file:///some/folder/.
        batch_size: training digits in a step, in each process.
        val_size: how many of the 60,000 are kept for validation.
        split_seed: seed of that choice; the training seed does not move it.
        distortion: how training digits are augmented; not at all unless given.
    """

    def __init__(
        self,
        root: str = "data",
        mirrors: tuple[str, ...] = source.MIRRORS,
        batch_size: PositiveInt = 64,
        val_size: ValidationSize = 5_000,
        split_seed: NonNegativeInt = 0,
        distortion: Distortion = Distortion(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.mirrors = mirrors
        self.batch_size = batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.distortion = distortion

    def prepare_data(self) -> None:
        """Fetch and verify the four files.

        Raises:
            RunError: a file is damaged or missing and every source failed, or the folder cannot be written to.
        """
        source.fetch(self.root, self.mirrors)

    def setup(self, stage: str) -> None:
        """Read what `stage` ("fit", "validate" or "test") needs."""
        if stage == "test":
            self.test = ResidentDigits.read(self.root, train=False)
            return
        digits = ResidentDigits.read(self.root, train=True)
        order = torch.randperm(TRAIN_SIZE, generator=torch.Generator().manual_seed(self.split_seed))
        self.val = digits.subset(order[: self.val_size])
        if stage == "fit":
            self.train = digits.subset(order[self.val_size :])
            self.seed = torch.initial_seed()
            self._distorted_epoch = None

    def train_dataloader(self) -> DataLoader:
        """Batches of this process's share of the training digits, in an order of this epoch's own.

        Raises:
            UsageError: the last batch would hold fewer digits than there are processes.
        """
        processes = self.trainer.world_size
        if 0 < len(self.train) % (self.batch_size * processes) < processes:
            raise UsageError(
                f"data.val_size must leave each of {processes} processes a digit of the last batch, "
                f"got {self.val_size}; {self.val_size + len(self.train) % processes} does"
            )
        # Lightning tells this sampler the epoch; with one process it is a shuffle that is a function of (seed, epoch).
        # It adds the epoch to its seed: unmixed, seed 1 would begin with the order of seed 0's second epoch.
        return self._loader(self.train, self.batch_size, shuffle=True, seed=_mix(self.seed))

    def val_dataloader(self) -> DataLoader:
        """Batches of this process's share of the validation digits."""
        return self._loader(self.val, EVAL_BATCH_SIZE, shuffle=False)

    def test_dataloader(self) -> DataLoader:
        """Batches of this process's share of the 10,000 test digits: of n processes, the r-th has each n-th from r."""
        return self._loader(self.test, EVAL_BATCH_SIZE, shuffle=False)

    def _loader(self, digits: "ResidentDigits", batch_size: int, **order: Any) -> DataLoader:
        processes, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        sampler = DistributedSampler(digits, processes, rank, **order)
        # it would repeat some digits so that all processes get equally many
        sampler.total_size = len(digits)
        sampler.num_samples = len(range(rank, len(digits), processes))
        # a loader draws a number whenever it begins, which a resumed run does once less: not from the global state
        draws = torch.Generator()
        return DataLoader(digits, batch_size, sampler=sampler, collate_fn=_as_is, generator=draws)

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        """Make bytes on the device into what the network takes; distort them when training."""
        if isinstance(batch, Tensor):
            return batch  # the example input, which the model summary sends through here
        images, labels = batch
        images = images.float().div_(255)
        if self.distortion and self.trainer.training:
            images = self.distortion(images, self._distortion_generator(images.device))
        return images.sub_(source.MEAN).div_(source.STD), labels

    def _distortion_generator(self, device: torch.device) -> torch.Generator:
        epoch = self.trainer.current_epoch
        if self._distorted_epoch != epoch:
            self._distorted_epoch = epoch
            seed = _mix(self.seed, epoch, self.trainer.global_rank)
            self._generator = torch.Generator(device).manual_seed(seed)
        return self._generator


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
        """Read the verified files of the 60,000 or the 10,000."""
        files = MNIST(str(root), train=train)
        return cls(files.data.unsqueeze(1), files.targets)

    def subset(self, indices: Tensor) -> "ResidentDigits":
        """Give copies of the digits at `indices`."""
        return ResidentDigits(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Gather a batch at once: torch's DataLoader asks for this before it would ask for each digit."""
        at = torch.tensor(indices)
        return self.images[at], self.labels[at]


def _as_is(batch: Batch) -> Batch:
    return batch


def _mix(*numbers: int) -> int:
    return hash(numbers) % 2**63
