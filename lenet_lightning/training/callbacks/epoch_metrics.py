"""The metrics of an epoch of training: loss, accuracy, size of the gradient, learning rate, time."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer


class EpochMetrics(Callback):
    """Log the metrics of each epoch of training at its end.

    `train/loss` and `train/acc` (means over the samples, each before the step that it was for), `train/grad_norm` (mean
    over the steps, before clipping), `lr`, `epoch` (from 1), `time/epoch_s` (seconds from the first batch fetched to
    the last step) and `time/images_per_s`; and within it, every trainer.log_every_n_steps, `train/loss_step` (of one
    batch) and `lr_step`. The module's `training_step` returns `loss`, a mean over the batch, and
    `logits` (N, classes); a batch is (images, labels).

    Attributes:
        training_seconds: of all epochs, those before a resume among them; kept in checkpoints.
    """

    def __init__(self) -> None:
        self.training_seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the counters."""
        self._started = self._stopped = time.perf_counter()
        # kept step by step and reduced once: to add up in each step costs more than the memory, 3 MB an epoch
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._validated_step: int | None = None
        self._every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # a connector of Lightning's sets it
        self._next = self._every and (trainer.global_step // self._every + 1) * self._every

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Count the size of the step's gradient; note the learning rate, which the schedule then changes."""
        self._rate = optimizer.param_groups[0]["lr"]
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients:
            self._norms.append(nn.utils.get_total_norm(gradients).view(1))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; let what max_steps ends within an epoch be validated, which Lightning would not."""
        labels = batch[1]
        loss = outputs["loss"]
        if trainer.accumulate_grad_batches != 1:
            loss = loss * trainer.accumulate_grad_batches  # by which Lightning has divided it
        self._losses.append(loss.expand(len(labels)))
        self._logits.append(outputs["logits"])
        self._labels.append(labels)
        self._stopped = time.perf_counter()
        if trainer.loggers and self._every and trainer.global_step >= self._next:
            self._next += self._every
            now = {"train/loss_step": loss.item(), "lr_step": self._rate}
            for logger in trainer.loggers:
                logger.log_metrics(now, trainer.global_step - 1)
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which step was validated, and log its epoch."""
        if trainer.state.fn == "fit":
            self._validated_step = trainer.global_step
            pl_module.log("epoch", trainer.current_epoch + 1.0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's metrics; validation metrics of other weights are dropped."""
        if self._validated_step != trainer.global_step:
            # they must be neither printed beside this epoch nor choose its checkpoint
            for name in ("val/loss", "val/acc"):
                trainer.callback_metrics.pop(name, None)
        losses, norms = torch.cat(self._losses), torch.cat(self._norms)
        correct = torch.cat(self._logits).argmax(1).eq(torch.cat(self._labels))
        sums = losses.sum(), correct.sum(), norms.sum()
        counts = torch.stack([*sums, *losses.new_tensor([len(correct), len(norms)])])
        loss_sum, right, norm_sum, count, steps = trainer.strategy.reduce(counts, reduce_op="sum")
        epoch_s = self._stopped - self._started
        self.training_seconds += epoch_s
        metrics = {
            "epoch": trainer.current_epoch + 1.0,
            "train/loss": loss_sum / count,
            "train/acc": right / count,
            "train/grad_norm": norm_sum / steps,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "time/epoch_s": epoch_s,
            "time/images_per_s": count / epoch_s,
        }
        pl_module.log_dict(metrics, logger=False)
        # Lightning would hand them on only after the checkpoint: a run killed in between would never get them
        for logger in trainer.loggers:
            logger.log_metrics({name: float(value) for name, value in metrics.items()}, trainer.global_step - 1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the seconds trained so far."""
        checkpoint["training_seconds"] = self.training_seconds

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue to count seconds where the checkpoint stopped."""
        self.training_seconds = checkpoint["training_seconds"]
