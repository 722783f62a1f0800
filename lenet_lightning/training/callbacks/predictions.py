"""The predictions of a test: kept in the order of the samples, with the metrics that need all of them at once."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lenet_lightning.evaluation import metrics


class Predictions(Callback):
    """Keep the logits of a test, and log each class's accuracy, calibration and rejection as `test/...`.

    The module's `test_step` returns logits; a batch is (images, labels).

    Attributes:
        logits: (N, 10), of all samples in their order, in each process.
        labels: (N,).
    """

    logits: Tensor
    labels: Tensor

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the logits of a batch."""
        self._batches.append((outputs.cpu(), batch[1].cpu()))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the logits of all processes, and log the metrics."""
        shares = [[torch.cat(part) for part in zip(*self._batches, strict=True)]]
        if trainer.world_size > 1:
            (own,), shares = shares, [[]] * trainer.world_size
            torch.distributed.all_gather_object(shares, own)
        self.logits, self.labels = (_interleaved(parts) for parts in zip(*shares, strict=True))
        # a module whose labels are no classes measures by itself
        values = getattr(pl_module, "test_metrics", metrics.test_metrics)(self.logits, self.labels)
        pl_module.log_dict({f"test/{name}": value for name, value in values.items()})


def _interleaved(parts: tuple[Tensor, ...]) -> Tensor:
    """Return the whole of what EpochSampler shared out: of n processes the r-th has every n-th sample from r."""
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole
