"""The networks of 1989 and 1998 as they were trained: the paper's losses, schedule and optimizer, sample by sample."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lenet_lightning.errors import UsageError
from lenet_lightning.historical.losses import LOSSES
from lenet_lightning.historical.per_sample import PerSample
from lenet_lightning.historical.sdlm import PASS_RATES, PATTERNS, SDLM, curvature
from lenet_lightning.training.callbacks.epoch_metrics import EpochMetrics
from lenet_lightning.training.classifier import Batch, DigitClassifier


class HistoricalClassifier(DigitClassifier):
    """A DigitClassifier with the losses and the schedule of 1998; with SDLM, one optimizer step for each sample.

    Args:
        network: as of DigitClassifier; SDLM and the rbf losses take `lenet5_1998` and `lenet1`.
        loss: `cross_entropy`, or the paper's `rbf_map` and `rbf_mse`.
        optimizer: `lenet_lightning.historical.sdlm.SDLM`, in one process and without clipping or accumulation, or any
            that DigitClassifier takes.
        schedule: as of DigitClassifier, or `paper`: epochs 3, 6, 9 and 13 lower the rate to 2/5, 1/5, 1/10 and 1/50 of
            the optimizer's lr.
        schedule_interval: as of DigitClassifier.
        warmup: fraction of the steps in which onecycle rises.
        label_smoothing: as of DigitClassifier, with cross_entropy alone.
        compile: whether to compile a step; with SDLM several times quicker.
        weights: as of DigitClassifier.

    Raises:
        ValueError: the loss or SDLM does not go with the network, label smoothing or the schedule.
    """

    def __init__(
        self,
        network: Literal["lenet5", "lenet5_1998", "lenet1"] | nn.Module = "lenet5_1998",
        loss: Literal["cross_entropy", "rbf_map", "rbf_mse"] = "rbf_map",
        optimizer: OptimizerCallable = SDLM,
        schedule: Literal["constant", "onecycle", "paper"] | LRSchedulerCallable = "paper",
        schedule_interval: Literal["epoch", "step"] = "epoch",
        warmup: OpenUnitInterval = 0.2,
        label_smoothing: ClosedUnitInterval = 0.0,
        compile: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss}")
        own = network in ("lenet5_1998", "lenet1")
        if loss != "cross_entropy" and not own:
            raise ValueError(
                f"model.loss {loss} needs distances: model.network must be lenet5_1998 or lenet1, got {network}"
            )
        if label_smoothing and loss != "cross_entropy":
            raise ValueError(f"model.label_smoothing must be 0 with model.loss {loss}, got {label_smoothing}")
        of_today = "constant" if schedule == "paper" else schedule
        super().__init__(
            network, optimizer, of_today, schedule_interval, warmup, label_smoothing, compile, weights, 0.0
        )
        named = schedule if isinstance(schedule, str) else "constant"
        self.save_hyperparameters({"loss": loss, "schedule": named}, logger=False)
        self._loss = LOSSES[loss]
        self.automatic_optimization = not is_sdlm(optimizer)
        if self.automatic_optimization:
            return
        if not own:
            raise ValueError(f"model.optimizer SDLM: model.network must be lenet5_1998 or lenet1, got {network}")
        if schedule not in ("constant", "paper"):
            raise ValueError(f"model.optimizer SDLM: model.schedule must be constant or paper, got {schedule}")
        self._per_sample = PerSample(self.network, self.loss, compile)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the samples."""
        return super().loss(logits, labels) if self.hparams["loss"] == "cross_entropy" else self._loss(logits, labels)

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that logs the metrics of training."""
        return [EpochMetrics() if self.automatic_optimization else PerSampleMetrics()]

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        if self.hparams["schedule"] != "paper":
            return super().configure_optimizers()
        optimizer = self.optimizer(self.network.parameters())
        return [optimizer], [LambdaLR(optimizer, paper_rate)]

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse a trainer that SDLM cannot be used with.

        Raises:
            UsageError: it has several processes, accumulates or clips gradients.
        """
        if self.automatic_optimization:
            return
        for name, only in (("world_size", 1), ("accumulate_grad_batches", 1), ("gradient_clip_val", None)):
            if (got := getattr(trainer, name)) != only:
                where = "devices x num_nodes" if name == "world_size" else name
                raise UsageError(f"trainer.{where} must be {only} with model.optimizer SDLM, got {got}")

    def setup(self, stage: str) -> None:
        """Check the trainer where no command line has."""
        if stage == "fit":
            self.check_trainer(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Estimate the curvature, before each epoch."""
        if not self.automatic_optimization:
            self._estimate_curvature()

    def on_train_epoch_end(self) -> None:
        """Lower the rate, which Lightning leaves to a module that steps by itself."""
        if not self.automatic_optimization and self.hparams["schedule"] == "paper":
            schedule = self.lr_schedulers()
            assert isinstance(schedule, LambdaLR)
            schedule.step()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Step through a batch sample by sample, or return its loss."""
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        # one of Lightning's steps for the batch: it counts and calls its hooks
        counting: Any = self.optimizers()
        steps = partial(self._per_sample, self._sdlm, *batch, self._estimate_curvature)
        logits, losses, norms = counting.step(steps)
        return {"loss": losses.sum() / len(logits), "logits": logits, "grad_norms": norms}

    @property
    def _sdlm(self) -> SDLM:
        (optimizer,) = self.trainer.optimizers
        assert isinstance(optimizer, SDLM)
        return optimizer

    def _estimate_curvature(self) -> None:
        batches, samples = [], 0
        # a new iterator: the epoch's own order is not touched
        for batch in self.trainer.train_dataloader or ():
            batches.append(self.trainer.strategy.batch_to_device(batch))
            samples += len(batch[1])
            if samples >= PATTERNS:
                break
        images, labels = (torch.cat(part)[:PATTERNS] for part in zip(*batches, strict=True))
        self._sdlm.estimate(curvature(self.network, images, labels, self.loss))


class PerSampleMetrics(EpochMetrics):
    """EpochMetrics of a module whose `training_step` returns the `grad_norms` (steps,) of its own steps, too."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch and its steps."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._norms.append(outputs["grad_norms"])


def is_sdlm(optimizer: OptimizerCallable) -> bool:
    """Return whether this makes an SDLM."""
    try:
        return isinstance(optimizer([nn.Parameter(torch.zeros(1))]), SDLM)
    except (ValueError, TypeError, RuntimeError):
        return False  # its settings are invalid, which is reported when it is built


def paper_rate(epoch: int) -> float:
    """Return the rate of an epoch, from 0, as a fraction of the first one's."""
    return PASS_RATES[min(epoch, len(PASS_RATES) - 1)] / PASS_RATES[0]
