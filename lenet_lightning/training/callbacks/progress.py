"""The progress of a training on screen: a line per epoch and, on a terminal, a bar below."""

import sys
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenet_lightning.training import notebooks


class EpochLines(ProgressBar):
    """One plain line per finished epoch, numbered from 1; on a terminal, a bar over the whole training below them.

    Lightning's own bars print nothing before the end, or thousands of lines, when output goes to a file.
    """

    def __init__(self) -> None:
        super().__init__()
        # named, or rich would take any encoding for UTF-8
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True, force_jupyter=False)
        self._bar: Progress | None = None

    def disable(self) -> None:
        """Print nothing (Lightning asks for this in all processes but the first, and while it tunes)."""
        self._console.quiet = True

    def enable(self) -> None:
        """Print again."""
        self._console.quiet = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar."""
        kept = [each for each in trainer.checkpoint_callbacks if getattr(each, "monitor", None) == "val/acc"]
        self._best = max((float(getattr(each, "best_model_score", None) or 0) for each in kept), default=0.0)
        self._unprinted: int | None = None
        if self._console.is_terminal and not self._console.quiet and not notebooks.in_kernel():
            self._bar = Progress(
                TextColumn("{task.fields[epoch]}"),
                BarColumn(None),
                MofNCompleteColumn(),
                TextColumn("steps"),
                TimeRemainingColumn(),
                console=self._console,
                # a notebook keeps each state of the bar of its `!python -m lenet_lightning fit`
                refresh_per_second=0.5 if notebooks.of_kernel() else 4,
                transient=True,
                expand=True,
            )
            steps = trainer.estimated_stepping_batches
            self._task = self._bar.add_task("", total=steps, completed=trainer.global_step, epoch="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch before: its metrics are complete only now."""
        self._print_line(trainer)
        if self._bar:
            self._bar.update(self._task, epoch=_numbered(trainer.current_epoch + 1, trainer))

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Move the bar."""
        if self._bar and trainer.global_step % 10 == 0:
            self._bar.update(self._task, completed=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics of a validation within an epoch; those at its end are in its own line."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not trainer.fit_loop.epoch_loop.done:
            epoch = _numbered(trainer.current_epoch + 1, trainer)
            self._console.print(f"{epoch}, step {trainer.global_step}{_stage(trainer, 'val')}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that an epoch is finished."""
        self._unprinted = trainer.current_epoch + 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last line."""
        self._print_line(trainer)
        self._end_bar()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._end_bar()

    def _end_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _print_line(self, trainer: Trainer) -> None:
        if self._unprinted is None:
            return
        line = _numbered(self._unprinted, trainer)
        self._unprinted = None
        if not trainer.is_last_batch:
            line += f", step {trainer.global_step}"  # it was cut short
        metrics = trainer.callback_metrics
        line += _stage(trainer, "train")
        if "val/acc" in metrics:
            line += _stage(trainer, "val")
        line += f"   {metrics['time/epoch_s']:.1f} s"
        if metrics.get("val/acc", 0.0) > self._best:
            self._best = float(metrics["val/acc"])
            line += "   best so far"
        self._console.print(line)


def _numbered(epoch: int, trainer: Trainer) -> str:
    total = trainer.max_epochs
    return f"epoch {epoch}" if total in (None, -1) else f"epoch {epoch:{len(str(total))}}/{total}"


def _stage(trainer: Trainer, stage: str) -> str:
    metrics = trainer.callback_metrics
    return f"   {stage} loss {metrics[f'{stage}/loss']:.4f}  acc {metrics[f'{stage}/acc']:7.2%}"
