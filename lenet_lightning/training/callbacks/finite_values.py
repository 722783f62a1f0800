"""A training that diverges ends at once, and leaves its last good checkpoint."""

import math
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from lenet_lightning.errors import RunError


class FiniteValues(Callback):
    """End a training whose loss or weights are not finite before anything of it is validated, logged or kept.

    Raises:
        RunError: at the step, on a CPU, or at the end of the epoch, on a GPU, which would have to wait in each step.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a list of the epoch's losses."""
        self._losses: list[Tensor] = []
        self._first_step = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of a step on a CPU."""
        loss = outputs["loss"]
        self._losses.append(loss)
        if loss.is_cpu and not math.isfinite(loss):
            raise self._diverged(trainer, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the steps since the epoch began."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the whole epoch."""
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        finite = torch.stack(self._losses).isfinite()
        if not finite.all():
            raise self._diverged(trainer, self._first_step + finite.tolist().index(False))
        if not all(values.isfinite().all() for values in pl_module.state_dict().values()):
            raise self._diverged(trainer, trainer.global_step)  # its loss was finite, its gradient was not

    def _diverged(self, trainer: Trainer, step: int) -> RunError:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        own = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
        kept = [each.best_model_path for each in own if each.monitor is None]
        good = f"the last good checkpoint is {kept[0]}" if any(kept) else "there is no good checkpoint yet"
        return RunError(
            f"train/loss: must be finite, was not at step {step} (epoch {trainer.current_epoch + 1}, learning rate "
            f"{rate:.3g}); {good}; train again with a smaller model.optimizer.lr or trainer.gradient_clip_val 1"
        )
