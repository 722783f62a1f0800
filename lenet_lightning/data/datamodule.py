"""MNIST as a LightningDataModule: kept in memory, split, batched, normalised on the device."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lenet_lightning.data import files
from lenet_lightning.data.arguments import BatchSize, FolderName, Mean, SplitSeed, Std, Sum, ValidationSize, data_set
from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.dataset import DISTORTION, Batch, EpochSampler, ResidentDigits, derive_seed, split
from lenet_lightning.data.download import MIRRORS, fetch
from lenet_lightning.errors import UsageError
from lenet_lightning.networks.lenet5 import LeNet5
from lenet_lightning.restricted import checked

SIZES = ("batch_size", "val_size", "split_seed")
EVAL_BATCH_SIZE = 1_000  # metrics do not depend on it; 1,000 is quick and still small in memory


class MNISTDataModule(LightningDataModule):
    """The 60,000 split into training and validation, and the 10,000 for the test; of MNIST or a data set of its shape.

    The defaults are those of configs/default.yaml.

    Batches are images (N, 1, 28, 28), float32, normalised, and labels (N,), int64; in a Trainer on its device. The
    order of the training samples and their distortion are functions of the seed, the epoch and the process; outside of
    a Trainer each pass is distorted anew. `train`, `val` and `test` are data sets of image (uint8) and label.
    `load_from_checkpoint` restores all arguments but root, mirrors and distortion.

    Args:
        root: folder of the data, in torchvision's layout: <root>/MNIST/raw/; `~` and `$NAME` are replaced.
        mirrors: addresses to download from, each the start of the four files' addresses; also file:///some/folder/.
            MNIST's are asked for MNIST alone.
        batch_size: training samples in a step, in each process. There is no num_workers and no pin_memory: all samples
            are in memory.
        val_size: how many of the 60,000 are kept for validation. With 0 all are trained on, nothing is selected, and
            the last epoch's checkpoint is the run's.
        split_seed: seed of that choice, which does not depend on the training seed.
        distortion: how training samples are augmented; `Distortion()`: not at all.
        mean: subtracted from pixels in [0, 1]; unless given, that of the network (from Python, of the tutorial's).
        std: the divisor of the difference; unless given, as the mean.
        name: of another data set, whose four files have MNIST's names and sizes, in <root>/<name>/raw/.
        sums: SHA-256 sums of its four files, unpacked: training images and labels, test images and labels.

    Raises:
        UsageError: of `name` and `sums` there is one alone, or `root` is no path.
        ValueError: another argument is out of its range.

    >>> MNISTDataModule(val_size=10_000).std
    0.3081
    """

    name: str

    def __init__(
        self,
        root: str = "data",
        mirrors: tuple[str, ...] = MIRRORS,
        batch_size: BatchSize = 256,
        val_size: ValidationSize = 5_000,
        split_seed: SplitSeed = 0,
        distortion: Distortion = Distortion(10.0, 0.1, 1.5, 0.1, 0.6, end=0.3),  # noqa: B008  # it is frozen
        mean: Mean | None = None,
        std: Std | None = None,
        name: FolderName | None = None,
        sums: tuple[Sum, Sum, Sum, Sum] | None = None,
    ) -> None:
        super().__init__()
        self.root, self.mirrors, self.distortion = files.expand(root), mirrors, distortion
        self.name, self.files = data_set(name, sums)
        if sums and tuple(mirrors) == MIRRORS:
            self.mirrors = ()
        if not isinstance(distortion, Distortion):
            raise ValueError(f"distortion must be a Distortion, got {distortion!r}")
        self.batch_size: int = checked(BatchSize, "batch_size", batch_size)
        self.val_size: int = checked(ValidationSize, "val_size", val_size)
        self.split_seed: int = checked(SplitSeed, "split_seed", split_seed)
        self.mean: float = checked(Mean, "mean", LeNet5.MEAN if mean is None else mean)
        self.std: float = checked(Std, "std", LeNet5.STD if std is None else std)
        # plain values, kept in the checkpoint: whoever uses its weights needs them
        kept: dict[str, Any] = {each: getattr(self, each) for each in ("mean", "std", *SIZES)}
        if sums:
            kept |= {"name": self.name, "sums": [file.sha256 for file in self.files]}
        self.save_hyperparameters(kept, logger=False)
        self._complete = False

    def prepare_data(self) -> None:
        """Fetch and verify the four files.

        Raises:
            RunError: a file is damaged or missing and every source failed, or the folder cannot be written to.
        """
        if not self._complete:  # Lightning asks before each fit and test; setup verifies what it reads
            fetch(self.root, self.mirrors, self.name, self.files)
            self._complete = True

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` ("fit", "validate", "test" or "predict") needs; without one, all.

        Raises:
            RunError: a file is damaged or missing.
        """
        if stage in ("test", "predict", None):
            self.test = ResidentDigits.read(self.root, False, self.name, self.files)
        if stage in ("test", "predict"):
            return
        samples = ResidentDigits.read(self.root, True, self.name, self.files)
        validation, training = split(self.val_size, self.split_seed)
        self.val = samples.subset(validation)
        if stage in ("fit", None):
            self.seed = torch.initial_seed()
            self.train = self.originals = samples.subset(training)
            self._distorted_epoch: int | None = None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of this process's share of the training samples, in this epoch's order.

        Raises:
            UsageError: the last batch would hold fewer samples than there are processes.
        """
        processes = self._position[0]
        if 0 < len(self.train) % (self.batch_size * processes) < processes:
            raise UsageError(
                f"data.val_size must leave each of {processes} processes a sample of the last batch, "
                f"got {self.val_size}; {self.val_size + len(self.train) % processes} does"
            )
        return self._loader(self.train, self.batch_size, self.seed)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Return batches of this process's share of the validation samples; no loader without such samples."""
        return self._loader(self.val, EVAL_BATCH_SIZE) if self.val_size else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return batches of this process's share of the 10,000 test samples: of n, the r-th has every n-th from r."""
        return self._loader(self.test, EVAL_BATCH_SIZE)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the test samples, as `test_dataloader`."""
        return self.test_dataloader()

    @property
    def _position(self) -> tuple[int, int, int]:
        here = self.trainer  # processes, the number of this one, epoch
        return (here.world_size, here.global_rank, here.current_epoch) if here else (1, 0, 0)

    def _loader(self, samples: ResidentDigits, batch_size: int, seed: int | None = None) -> DataLoader[Batch]:
        sampler = EpochSampler(len(samples), *self._position[:2], seed)
        # a loader draws a number whenever it begins, which a resumed run does once less: not from the global state
        draws = torch.Generator()
        collate = self._input if seed is None else self._training_batch
        return DataLoader(samples, batch_size=batch_size, sampler=sampler, collate_fn=collate, generator=draws)

    def _training_batch(self, batch: Any) -> Batch:
        # a Trainer asks for the input on its device, where a distortion is quick
        return batch if self.trainer and self.trainer.training else self._input(batch, distorted=True)

    def _input(self, batch: Any, distorted: bool = False) -> Batch:
        """Return the network's input, made of bytes."""
        images, labels = batch
        images = images.float().div_(255)
        if distorted:
            images = self.augment(images)
        return images.sub_(self.mean).div_(self.std), labels

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; on the CPU it is there already, and to look through it would cost time."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        """Return the network's input, made of the bytes of a training batch on the device, distorted."""
        # the model summary passes the example input alone
        if isinstance(batch, Tensor) or batch[0].dtype != torch.uint8:
            return batch
        assert self.trainer
        images, labels = self._input(batch, distorted=True)
        return self.trainer.precision_plugin.convert_input(images), labels

    def augment(self, images: Tensor) -> Tensor:
        """Return training images (N, 1, 28, 28), in [0, 1], distorted anew at each call."""
        if not self.distortion:
            return images
        _, rank, epoch = self._position
        if self._distorted_epoch != epoch:
            self._distorted_epoch = epoch
            seed = derive_seed(self.seed, DISTORTION, epoch, rank)
            self._generator = torch.Generator(images.device).manual_seed(seed)
            epochs = self.trainer.max_epochs if self.trainer else None
            self._distortion = self.distortion.in_epoch(epoch, epochs or 0)
        return self._distortion(images, self._generator)
