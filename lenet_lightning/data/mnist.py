"""MNIST as Lightning takes it: resident in memory, split, batched, normalised on the device."""

from functools import partial
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt, restricted_number_type
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from lenet_lightning.data import source
from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.digits import Batch, ResidentDigits
from lenet_lightning.data.variants import VariedDigits, VariedSampler
from lenet_lightning.errors import UsageError

TRAIN_SIZE = 60_000
EVAL_BATCH_SIZE = 1_000  # figures do not depend on it; 1,000 is quick and still small in memory

ValidationSize = restricted_number_type(
    "ValidationSize", int, [(">=", 0), ("<", TRAIN_SIZE)], docstring=f"from 0 to {TRAIN_SIZE - 1:,}"
)


class MNISTDataModule(LightningDataModule):
    """The 60,000 split into training and validation, and the 10,000 for the test.

    Batches are images (N, 1, 28, 28), float32, normalised, on the device of the module, and labels (N,), int64.
    The order of the training digits and their distortion are functions of the seed, the epoch and the process alone.

    Args:
        root: folder of the data, in torchvision's layout: <root>/MNIST/raw/; `~` and `$NAME` are replaced.
        mirrors: addresses to download from, each the start of the four files' addresses; also file:///some/folder/.
        batch_size: training digits in a step, in each process.
        val_size: how many of the 60,000 are kept for validation. With 0 all are trained on, nothing is selected, and
            the last epoch's checkpoint is the run's.
        split_seed: seed of that choice; the training seed does not move it.
        distortion: how training digits are augmented; not at all unless given.
        variants: how many distorted variants each training digit has, fixed and shown in turn with the digit itself;
            0 for a new one each time and the digit itself never.
        mean: what is taken from pixels between 0 and 1.
        std: what they are divided by then.
    """

    def __init__(
        self,
        root: str = "data",
        mirrors: tuple[str, ...] = source.MIRRORS,
        batch_size: PositiveInt = 64,
        val_size: ValidationSize = 5_000,
        split_seed: NonNegativeInt = 0,
        distortion: Distortion = Distortion(),  # noqa: B008 - frozen
        variants: NonNegativeInt = 0,
        mean: float = source.MEAN,
        std: PositiveFloat = source.STD,
    ) -> None:
        super().__init__()
        # plain values: the checkpoint keeps them, for those who take weights out of it
        self.mean, self.std = float(mean), float(std)
        self.save_hyperparameters({"mean": self.mean, "std": self.std}, logger=False)
        if variants and not distortion:
            raise ValueError(f"data.variants must be 0 where data.distortion does nothing, got {variants}")
        self.root = source.expand(root)
        self._complete = False
        self.mirrors = mirrors
        self.batch_size = batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.distortion = distortion
        self.variants = variants

    def prepare_data(self) -> None:
        """Fetch and verify the four files.

        Raises:
            RunError: a file is damaged or missing and every source failed, or the folder cannot be written to.
        """
        if not self._complete:  # Lightning asks before each fit and test; setup verifies what it reads
            source.fetch(self.root, self.mirrors)
            self._complete = True

    def setup(self, stage: str) -> None:
        """Read what `stage` ("fit", "validate" or "test") needs.

        Raises:
            RunError: a file is damaged or missing.
        """
        if stage == "test":
            self.test = ResidentDigits.read(self.root, train=False)
            return
        digits = ResidentDigits.read(self.root, train=True)
        order = torch.randperm(TRAIN_SIZE, generator=torch.Generator().manual_seed(self.split_seed))
        self.val = digits.subset(order[: self.val_size])
        if stage == "fit":
            self.seed = torch.initial_seed()
            self.train = self.originals = digits.subset(order[self.val_size :])
            if self.variants:
                seed = partial(_mix, self.seed)
                images, labels = self.originals.images, self.originals.labels
                self.train = VariedDigits(images, labels, self.distortion, self.variants, seed)
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

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Batches of this process's share of the validation digits; without such digits, no loader."""
        return self._loader(self.val, EVAL_BATCH_SIZE, shuffle=False) if self.val_size else []

    def test_dataloader(self) -> DataLoader:
        """Batches of this process's share of the 10,000 test digits: of n processes, the r-th has each n-th from r."""
        return self._loader(self.test, EVAL_BATCH_SIZE, shuffle=False)

    def _loader(self, digits: "ResidentDigits", batch_size: int, **order: Any) -> DataLoader:
        processes, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        kind = VariedSampler if isinstance(digits, VariedDigits) else DistributedSampler
        sampler = kind(digits, processes, rank, **order)
        # it would repeat some digits so that all processes get equally many
        sampler.total_size = len(digits)
        sampler.num_samples = len(range(rank, len(digits), processes))
        # a loader draws a number whenever it begins, which a resumed run does once less: not from the global state
        draws = torch.Generator()
        return DataLoader(digits, batch_size, sampler=sampler, collate_fn=_as_is, generator=draws)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave on the CPU what is there: to look through the batch costs time in each step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        """Make bytes on the device into what the network takes; distort them when training."""
        if isinstance(batch, Tensor):
            return batch  # the example input, which the model summary sends through here
        images, labels = batch
        images = images.float().div_(255)
        if self.distortion and not self.variants and self.trainer.training:
            images = self.distortion(images, self._distortion_generator(images.device))
        return images.sub_(self.mean).div_(self.std), labels

    def _distortion_generator(self, device: torch.device) -> torch.Generator:
        epoch = self.trainer.current_epoch
        if self._distorted_epoch != epoch:
            self._distorted_epoch = epoch
            seed = _mix(self.seed, epoch, self.trainer.global_rank)
            self._generator = torch.Generator(device).manual_seed(seed)
        return self._generator


def _as_is(batch: Batch) -> Batch:
    return batch


def _mix(*numbers: int) -> int:
    return hash(numbers) % 2**63
