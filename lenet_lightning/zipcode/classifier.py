"""The LightningModule of the row reader: the swept network and the forward criterion."""

from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import OpenUnitInterval
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from lenet_lightning.errors import UsageError
from lenet_lightning.rows import decoding
from lenet_lightning.rows.network import HEIGHT, SweptLeNet5
from lenet_lightning.rows.reader import RowReader
from lenet_lightning.training.callbacks.epoch_metrics import EpochMetrics
from lenet_lightning.training.callbacks.plain_fit import of_fit
from lenet_lightning.training.classifier import Batch, DigitClassifier
from lenet_lightning.zipcode.datamodule import RowsMNIST
from lenet_lightning.zipcode.metrics import edits, test_metrics

MOST_READ = 24  # digits that are counted of a row


class RowClassifier(DigitClassifier):
    """A reader of rows of digits that is trained as a whole, where the digits are not told apart.

    A batch is rows (N, 1, 28, W), pixels in [0, 1], and their digits (N, L), NO_DIGIT after the last. The loss is minus
    the log-probability of a row's digits, over all the ways to align them (LeCun et al. 1998, section VI), nats for
    a row; `acc` is the fraction of rows that are exactly right by the best path, `digit_error` the digits to insert,
    remove or change, for each that there is. Logged as by DigitClassifier, with `val/digit_error`, `test/digit_error`
    and what `metrics.test_metrics` returns.

    Args:
        optimizer: as of DigitClassifier.
        schedule: as of DigitClassifier.
        schedule_interval: as of DigitClassifier.
        warmup: fraction of the steps in which onecycle rises.
        compile: as of DigitClassifier.
        weights: a .safetensors file of SweptLeNet5's, to begin the training with.

    Raises:
        ValueError: an argument is none of those that it can be.
        UsageError: there is no such file of weights.
        RunError: it is damaged, or has those of another network.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=0.003, weight_decay=0.05),
        schedule: Literal["constant", "onecycle"] | LRSchedulerCallable = "onecycle",
        schedule_interval: Literal["epoch", "step"] = "epoch",
        warmup: OpenUnitInterval = 0.2,
        compile: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        network = SweptLeNet5()
        if weights is not None:
            network.load_state_dict(RowReader(Path(weights).expanduser()).network.state_dict())
        super().__init__(network, optimizer, schedule, schedule_interval, warmup, compile=compile)
        self.save_hyperparameters({"network": "lenet5_swept"}, logger=False)
        self.val_acc, self.test_acc = (MulticlassAccuracy(2, average="micro") for _ in range(2))
        self.example_input_array = torch.zeros(1, 1, HEIGHT, 128)

    def setup(self, stage: str) -> None:
        """Raise UsageError where the data are no rows."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and not isinstance(data, RowsMNIST):
            raise UsageError("data.rows must be above 0 with model.network lenet5_swept, got 0")

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of a fit."""
        if not self._trainer or self._trainer.state.fn != "fit":
            return []
        return [RowMetrics() if type(each) is EpochMetrics else each for each in of_fit(self.trainer, self.averaging)]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of minus the log-probability of rows, nats; of one that is too short for its digits, 0."""
        return decoding.forward_score(logits, labels).nan_to_num(posinf=0.0).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of a batch, and in place of logits whether each row was read right: (N, 2)."""
        logits, loss = self._step(batch)
        with torch.no_grad():
            return {"loss": loss, "logits": torch.nn.functional.one_hot(right(logits, batch[1]).long(), 2).float()}

    def _evaluate(self, batch: Batch, stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        logits, loss = self.step(batch)
        exact = right(logits, batch[1]).long()
        accuracy.update(exact, torch.ones_like(exact))
        wrong = edits(decoding.best_path(logits, MOST_READ), batch[1]).sum() / (batch[1] != decoding.NO_DIGIT).sum()
        metrics: dict[str, Any] = {f"{stage}/loss": loss, f"{stage}/acc": accuracy, f"{stage}/digit_error": wrong}
        self.log_dict(metrics, batch_size=len(logits), on_epoch=True, sync_dist=True)
        return logits

    def test_metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the metrics of all rows of a test, by their names after `test/`."""
        return test_metrics(logits, labels)


class RowMetrics(EpochMetrics):
    """EpochMetrics in which the accuracy is that of whole rows."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch: a row should be right."""
        rows, digits = batch
        should = torch.ones(len(digits), dtype=torch.long, device=digits.device)
        super().on_train_batch_end(trainer, pl_module, outputs, (rows, should), batch_idx)


def right(logits: Tensor, digits: Tensor) -> Tensor:
    """Return which rows (N,) the best path of logits (N, 11, T) reads as their digits (N, L)."""
    read = decoding.best_path(logits, digits.shape[1])
    return (read[:, :-1] == digits).all(1) & (read[:, -1] == decoding.NO_DIGIT)
