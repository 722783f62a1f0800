"""What Lightning trains: a network with its loss, accuracy, optimizer and schedule."""

import math
import time
from functools import partial
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval, restricted_number_type
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer, SparseAdam
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics.classification import MulticlassAccuracy

from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.evaluation.metrics import scores
from lenet_lightning.historical.losses import LOSSES
from lenet_lightning.historical.per_sample import OneByOne
from lenet_lightning.historical.sdlm import PASS_RATES, PATTERNS, SDLM, curvature
from lenet_lightning.networks import NETWORKS

UNSUITABLE = {
    LBFGS: "sees a batch many times in a step: here each digit counts once",
    SparseAdam: "takes sparse gradients alone",
}

Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)], docstring="from 0 to below 1")


class DigitClassifier(LightningModule):
    """A LeNet with all that training it takes. The defaults are the tutorial's network and recipe.

    Logged once an epoch: `train/loss` (smoothed as it was trained on), `train/acc` (before each step, on the digits as
    augmented), `train/grad_norm` (mean over the steps, before clipping), `val/loss`, `val/acc`, `lr`, `time/epoch_s`
    (from the first batch fetched to the last optimizer step), `time/images_per_s`; at the test `test/loss`, `test/acc`
    and what `scores` gives. Losses are means over digits, accuracies fractions.

    Args:
        network: `lenet5` (the tutorial's), `lenet5_1998` or `lenet1`.
        loss: `cross_entropy` (nats); for the historical networks also the paper's `rbf_map` and `rbf_mse`.
        optimizer: any torch.optim optimizer but LBFGS, Muon and SparseAdam: `SGD`, `AdamW`, ... with its own settings
            (`optimizer.lr`); for the historical networks also `lenet_lightning.historical.sdlm.SDLM`, which goes
            through a batch pattern by pattern.
        schedule: `constant`; `onecycle`: the rate rises to the optimizer's lr and falls to zero at the last step;
            `paper`: epochs 3, 6, 9 and 13 lower it to 2/5, 1/5, 1/10 and 1/50 of the optimizer's lr. None changes
            momentum or betas.
        warmup: fraction of the steps in which onecycle rises.
        label_smoothing: probability mass that the target of cross_entropy spreads over all ten digits.
        averaging: decay of an exponential moving average of the weights, which is then what is validated, tested and
            kept; 0 for none. At step n it is at most n / (9 + n), so that a short run does not end near where it
            began.
        compile: whether torch.compile makes the step quicker, with SDLM several times; needs a C++ compiler and half a
            minute.

    Raises:
        ValueError: the optimizer refuses its settings or the network, or the loss does not go with the network or with
            label smoothing, or the schedule not with SDLM.
    """

    def __init__(
        self,
        network: Literal["lenet5", "lenet5_1998", "lenet1"] = "lenet5",
        loss: Literal["cross_entropy", "rbf_map", "rbf_mse"] = "cross_entropy",
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=0.001, momentum=0.9),
        schedule: Literal["constant", "onecycle", "paper"] = "constant",
        warmup: OpenUnitInterval = 0.2,
        label_smoothing: ClosedUnitInterval = 0.0,
        averaging: Decay = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        # plain values, or the checkpoint could not be read safely: the command line gives floats of classes of its own.
        # The optimizer is none: a checkpoint holds its state, the run's config.yaml its settings.
        plain = {
            "network": network,
            "loss": loss,
            "schedule": schedule,
            "warmup": warmup,
            "label_smoothing": label_smoothing,
            "averaging": averaging,
        }
        self.save_hyperparameters({k: v if isinstance(v, str) else float(v) for k, v in plain.items()}, logger=False)
        if loss.startswith("rbf_") and network == "lenet5":
            raise ValueError(
                f"model.loss {loss} needs distances: model.network must be lenet5_1998 or lenet1, got lenet5"
            )
        if label_smoothing and loss != "cross_entropy":
            raise ValueError(f"model.label_smoothing must be 0 with model.loss {loss}, got {label_smoothing}")
        self.network = NETWORKS[network]()
        self.loss = LOSSES[loss]
        self._training_loss = partial(self.loss, label_smoothing=label_smoothing) if label_smoothing else self.loss
        self.averaged = AveragedModel(self.network) if averaging else None
        if self.averaged:
            self.averaged.requires_grad_(False)  # several processes would wait for its gradients
        self.optimizer = optimizer
        self.val_acc = MulticlassAccuracy(10, average="micro")
        self.test_acc = MulticlassAccuracy(10, average="micro")
        self.example_input_array = torch.zeros(1, 1, 28, 28)
        self.training_seconds = 0.0
        # settings that cannot be (a negative rate) should end the command now, not after the data are read
        try:
            tried = optimizer(self.network.parameters())
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"model.optimizer: {error}") from error
        for kind, reason in UNSUITABLE.items():
            if isinstance(tried, kind):
                raise ValueError(f"model.optimizer: must be another one than {kind.__name__}, which {reason}")
        if isinstance(tried, SDLM) and network == "lenet5":
            raise ValueError("model.optimizer SDLM: model.network must be lenet5_1998 or lenet1, got lenet5")
        if isinstance(tried, SDLM) and schedule == "onecycle":
            raise ValueError("model.optimizer SDLM: model.schedule must be constant or paper, got onecycle")
        self.automatic_optimization = not isinstance(tried, SDLM)
        if self.automatic_optimization:
            self._learn = torch.compile(self._logits_and_loss, dynamic=False) if compile else self._logits_and_loss
        else:
            self._one_by_one = OneByOne(self.network, self._training_loss, compile)

    @property
    def trained_network(self) -> nn.Module:
        """The network that is validated, tested and kept: the weight average where there is one."""
        return self.averaged.module if self.averaged else self.network

    def forward(self, images: Tensor) -> Tensor:
        """Give the trained network's logits (N, 10) of normalised images (N, 1, 28, 28)."""
        return self.trained_network(images)

    def on_train_epoch_start(self) -> None:
        """Start the clock and the counters; for SDLM, estimate the curvature."""
        self._started = time.perf_counter()
        # kept step by step and reduced once: to add up in each step costs more than the memory, 3 MB an epoch
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._first_step = self.trainer.global_step + 1
        self._validated_step: int | None = None
        if not self.automatic_optimization:
            self._estimate_curvature()

    def _estimate_curvature(self) -> None:
        batches, patterns = [], 0
        for batch in self.trainer.train_dataloader:  # an iterator of its own: the epoch's own order is not touched
            batches.append(self.trainer.strategy.batch_to_device(batch))
            patterns += len(batch[1])
            if patterns >= PATTERNS:
                break
        images, labels = (torch.cat(part)[:PATTERNS] for part in zip(*batches, strict=True))
        self.trainer.optimizers[0].estimate(curvature(self.network, images, labels, self.loss))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        """Give the loss of a batch, or let SDLM step through it; and count."""
        images, labels = batch
        if self.automatic_optimization:
            logits, loss = self._learn(images, labels)
            total = loss.detach()
            losses = total.expand(len(labels))
        else:
            loss = None
            (optimizer,) = self.trainer.optimizers
            steps = partial(self._one_by_one, optimizer, images, labels, self._estimate_curvature)
            # one of Lightning's steps for the batch: it counts and calls its hooks
            logits, losses, norms = self.optimizers().step(steps)
            total = losses.sum()
            self._norms.append(norms)
        self._losses.append(losses)
        self._logits.append(logits.detach())
        self._labels.append(labels)
        # on a GPU to ask now would make it wait; the epoch's end asks
        if total.is_cpu and not math.isfinite(total):
            raise self._diverged(self.trainer.global_step + 1)
        return loss

    def _logits_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        return logits, self._training_loss(logits, labels)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Count the size of the step's gradient."""
        if not self.automatic_optimization:
            return  # counted step by step
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        self._norms.append(nn.utils.get_total_norm(gradients).view(1))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average the weights and note the time: a validation may come next, as it does after the last step."""
        if self.averaged:
            self._average()
        self._stopped = time.perf_counter()
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True  # or Lightning would not validate what max_steps ends within an epoch

    def _average(self) -> None:
        # AveragedModel.update_parameters, in a quarter of its time, and without asking a GPU for the count
        n = self.trainer.global_step
        decay = min(self.hparams.averaging, n / (9 + n)) if n > 1 else 0.0
        average = get_ema_multi_avg_fn(decay)
        average(list(self.averaged.module.parameters()), list(self.network.parameters()), None)
        self.averaged.n_averaged += 1

    def on_validation_start(self) -> None:
        """Let nothing be validated, logged or kept that is not finite."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._check_finite()

    def _check_finite(self) -> None:
        if not torch.cat(self._losses).isfinite().all():
            finite = [bool(losses.isfinite().all()) for losses in self._losses]
            raise self._diverged(self._first_step + finite.index(False))
        if not all(values.isfinite().all() for values in self.state_dict().values()):
            raise self._diverged(self.trainer.global_step)  # its loss was finite, its gradient was not

    def _diverged(self, step: int) -> RunError:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        kept = [each.best_model_path for each in self.trainer.checkpoint_callbacks if each.monitor is None]
        good = f"the last good checkpoint is {kept[0]}" if any(kept) else "there is no good checkpoint yet"
        return RunError(
            f"train/loss: must be finite, was not at step {step} (epoch {self.current_epoch + 1}, learning rate "
            f"{rate:.3g}); {good}; train again with a smaller model.optimizer.lr or trainer.gradient_clip_val 1"
        )

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training figures."""
        self._check_finite()
        if self._validated_step != self.trainer.global_step:
            # of other weights: they must be neither printed beside this epoch nor choose its checkpoint
            for name in ("val/loss", "val/acc"):
                self.trainer.callback_metrics.pop(name, None)
        losses, norms = torch.cat(self._losses), torch.cat(self._norms)
        correct = torch.cat(self._logits).argmax(1).eq(torch.cat(self._labels))
        sums = losses.sum(), correct.sum(), norms.sum()
        counts = torch.stack([*sums, *losses.new_tensor([len(correct), len(norms)])])
        loss_sum, correct, norm_sum, count, steps = self.trainer.strategy.reduce(counts, reduce_op="sum")
        epoch_s = self._stopped - self._started
        self.training_seconds += epoch_s
        figures = {
            "epoch": self.current_epoch + 1.0,
            "train/loss": loss_sum / count,
            "train/acc": correct / count,
            "train/grad_norm": norm_sum / steps,
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            "time/epoch_s": epoch_s,
            "time/images_per_s": count / epoch_s,
        }
        self.log_dict(figures, logger=False)
        if not self.automatic_optimization and self.hparams.schedule == "paper":
            self.lr_schedulers().step()
        # Lightning would hand them on only after the checkpoint: a run killed in between would never get them
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in figures.items()}, self.trainer.global_step - 1)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count a batch of validation digits."""
        self._evaluate(batch, "val", self.val_acc)

    def on_validation_epoch_end(self) -> None:
        """Note which step was validated, and log its epoch, counted from 1 as everywhere here."""
        if self.trainer.state.fn == "fit":
            self._validated_step = self.trainer.global_step
            self.log("epoch", self.current_epoch + 1.0)

    def on_test_epoch_start(self) -> None:
        """Forget an earlier test."""
        self._tested: list[tuple[Tensor, Tensor]] = []

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count a batch of test digits."""
        logits = self._evaluate(batch, "test", self.test_acc)
        self._tested.append((logits.cpu(), batch[1].cpu()))

    def on_test_epoch_end(self) -> None:
        """Keep the test's logits (10000, 10) and labels (10000,), and log what they say beyond accuracy."""
        shares = [[torch.cat(part) for part in zip(*self._tested, strict=True)]]
        if self.trainer.world_size > 1:
            (mine,), shares = shares, [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, mine)
        self.test_logits, self.test_labels = (_interleaved(parts) for parts in zip(*shares, strict=True))
        figures = scores(self.test_logits, self.test_labels)
        self.log_dict({f"test/{name}": value for name, value in figures.items()}, logger=self._whole_test)

    @property
    def _whole_test(self) -> bool:
        # a test figure stands for all 10,000, or no logger gets it
        return self.trainer.num_test_batches == [len(self.trainer.test_dataloaders)]

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        images, labels = batch
        logits = self(images)
        accuracy.update(logits, labels)
        logged = stage == "val" or self._whole_test
        counted = {"batch_size": len(labels), "logger": logged, "on_epoch": True, "sync_dist": True}
        self.log(f"{stage}/loss", self.loss(logits, labels), **counted)
        self.log(f"{stage}/acc", accuracy, **counted)
        return logits

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its schedule: of `onecycle` over all steps of the run, of `paper` by epochs."""
        optimizer = self.optimizer(self.network.parameters())
        if self.hparams.schedule == "constant":
            return optimizer
        if self.hparams.schedule == "paper":
            return [optimizer], [LambdaLR(optimizer, _paper_rate)]
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise UsageError(
                "trainer.max_epochs or max_steps must be set with model.schedule onecycle, got neither: it ends at the "
                "last step"
            )
        return [optimizer], [{"scheduler": self._onecycle(optimizer), "interval": "step"}]

    def _onecycle(self, optimizer: Optimizer) -> OneCycleLR:
        rates = [group["lr"] for group in optimizer.param_groups]
        steps = max(2, int(self.trainer.estimated_stepping_batches))  # a single step would be the last one, at zero
        warmup = self.hparams.warmup if self.hparams.warmup * steps > 1 else 0.0  # of 1 step, torch divides by zero
        # momentum and betas stay those of the config
        return OneCycleLR(optimizer, rates, steps, pct_start=warmup, cycle_momentum=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the seconds trained so far."""
        checkpoint["training_seconds"] = self.training_seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting seconds where the checkpoint stopped."""
        self.training_seconds = checkpoint["training_seconds"]


def _interleaved(parts: tuple[Tensor, ...]) -> Tensor:
    """Put together what was dealt out one by one."""
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole


def _paper_rate(epoch: int) -> float:
    return PASS_RATES[min(epoch, len(PASS_RATES) - 1)] / PASS_RATES[0]
