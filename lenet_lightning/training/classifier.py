"""The LightningModule: network, loss, metrics, optimizer and learning-rate schedule."""

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lenet_lightning import weights as weights_files
from lenet_lightning.networks import NETWORKS
from lenet_lightning.restricted import checked
from lenet_lightning.training import optimizers, schedules
from lenet_lightning.training.callbacks.plain_fit import of_fit
from lenet_lightning.training.callbacks.weight_average import DECAY, Decay

Batch = tuple[Tensor, Tensor]


class DigitClassifier(LightningModule):
    """A classifier of ten digits, and how it is trained; the defaults are those of configs/default.yaml.

    A batch is images (N, 1, 28, 28), normalised, and labels (N,). Logged are `val/loss` (nats), `val/acc`, `test/loss`
    and `test/acc` (fractions), means over all samples, and what EpochMetrics logs of the training. A checkpoint has no
    optimizer's class, no schedule of torch's, no decay, no network's code: pass them to `load_from_checkpoint`.

    Args:
        network: `lenet5` (the tutorial's), `lenet5_1998`, `lenet1`, or a module of your own: images to logits (N, 10).
        optimizer: any torch.optim optimizer that takes dense gradients and one pass for each step: `SGD`, `AdamW`, ...
            with its own settings (`optimizer.lr`).
        schedule: `constant`; `onecycle`: the rate rises to the optimizer's lr and falls to zero at the last step,
            momentum and betas stay as they are; or any of torch.optim.lr_scheduler, with its own settings
            (`schedule.step_size`), or lightning.pytorch.cli.ReduceLROnPlateau with its `monitor`.
        schedule_interval: whether one of torch's schedules moves after each epoch or each step.
        warmup: fraction of the steps in which onecycle rises.
        label_smoothing: probability mass that the target of the training loss spreads over all ten classes.
        compile: whether to compile the training step with torch.compile: half a minute, then quicker steps.
        weights: a .safetensors, .pth or .ckpt file of this network, to begin the training with; `~` is replaced.
        averaging: decay of the moving average of the weights that WeightAverage keeps, 0 for none. A trainer's own
            callback that averages takes its place; on the command line it is `--averaging`.

    Raises:
        ValueError: an argument is none of those that it can be, or out of its range.
        UsageError: there is no such file of weights, or it has those of another network.
        RunError: it is damaged.
    """

    def __init__(
        self,
        network: Literal["lenet5", "lenet5_1998", "lenet1"] | nn.Module = "lenet5",
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.05, fused=True),
        schedule: Literal["constant", "onecycle"] | LRSchedulerCallable = "onecycle",
        schedule_interval: Literal["epoch", "step"] = "epoch",
        warmup: OpenUnitInterval = 0.2,
        label_smoothing: ClosedUnitInterval = 0.0,
        compile: bool = False,
        weights: str | Path | None = None,
        averaging: Decay = DECAY,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module) and network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)} or a module, got {network}")
        self.network = NETWORKS[network]() if isinstance(network, str) else network
        if weights is not None:
            weights_files.start(self.network, Path(weights).expanduser())
        optimizers.check(optimizer)
        schedules.check(schedule, schedule_interval)
        self.optimizer = optimizer
        self._schedule, self._interval = schedule, schedule_interval
        self.label_smoothing: float = checked(ClosedUnitInterval, "label_smoothing", label_smoothing)
        self.averaging: float = checked(Decay, "averaging", averaging)
        # plain values, for a checkpoint to be read safely: jsonargparse has number types of its own. The optimizer and
        # torch's schedules are none: a checkpoint holds their state, the run's config.yaml their settings.
        name = network if isinstance(network, str) else type(network).__name__
        plain = {"network": name, "schedule": schedule if isinstance(schedule, str) else "constant"}
        plain["warmup"] = checked(OpenUnitInterval, "warmup", warmup)
        self.save_hyperparameters(plain | {"label_smoothing": self.label_smoothing}, logger=False)
        self.val_acc = MulticlassAccuracy(10, average="micro")
        self.test_acc = MulticlassAccuracy(10, average="micro")
        self.example_input_array = torch.zeros(1, 1, 28, 28)
        self._step = torch.compile(self.step, dynamic=False) if compile else self.step

    def check_trainer(self, trainer: Trainer) -> None:
        """Raise UsageError if a trainer cannot train this: for subclasses, asked before any process is started."""

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of a fit, for any Trainer: they log the metrics of training and average the weights."""
        return of_fit(self.trainer, self.averaging) if self._trainer and self._trainer.state.fn == "fit" else []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 10) of normalised images (N, 1, 28, 28)."""
        return self.network(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy, nats; with label smoothing in training alone."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing if self.training else 0.0)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and loss of a batch."""
        images, labels = batch
        logits = self.network(images)
        return logits, self.loss(logits, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return loss and logits of a batch, of which EpochMetrics makes an epoch's metrics, as logging is slow."""
        logits, loss = self._step(batch)
        return {"loss": loss, "logits": logits.detach()}

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count a batch of validation samples; return its logits."""
        return self._evaluate(batch, "val", self.val_acc)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count a batch of test samples; return its logits."""
        return self._evaluate(batch, "test", self.test_acc)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return the logits of a batch, with or without labels."""
        return self(batch if isinstance(batch, Tensor) else batch[0])

    def _evaluate(self, batch: Batch, stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        logits, loss = self.step(batch)
        accuracy.update(logits, batch[1])
        metrics: dict[str, Any] = {f"{stage}/loss": loss, f"{stage}/acc": accuracy}
        self.log_dict(metrics, batch_size=len(logits), on_epoch=True, sync_dist=True)
        return logits

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise UsageError where a fit is to go on with another optimizer than the checkpoint's."""
        if self._trainer and self._trainer.state.fn == "fit":
            optimizers.check_state(self.optimizer(self.network.parameters()), checkpoint)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule.

        Raises:
            UsageError: onecycle without an end: neither max_epochs nor max_steps is set.
        """
        optimizer = self.optimizer(self.network.parameters())
        return schedules.beside(optimizer, self._schedule, self._interval, self.hparams["warmup"], self.trainer)
