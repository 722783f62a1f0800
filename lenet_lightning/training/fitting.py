"""`fit` from its first check to its last line: resume, train, test the best checkpoint once, keep what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.errors import RunError, UsageError, one_line, pasted, printable, remedy
from lenet_lightning.training import checkpoints, results, resume, runs
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.loggers.wandb import CHECKPOINT_KEY, WandbLogger, begun_in
from lenet_lightning.training.peers import Peers


@dataclass
class Fit:
    """A training with all that belongs to it.

    Args:
        trainer: with the callbacks and loggers of the run.
        model: to be trained.
        data: MNIST.
        run: the run's folder; None if nothing is kept; in other processes than the first it may be on another machine.
        checkpoint: to resume from, or None.
        recipe: of `resume.recipe_of`.
        pictures: whether to draw the run's pictures.
        peers: the processes that train together.
    """

    trainer: Trainer
    model: DigitClassifier
    data: MNISTDataModule
    run: Path | None
    checkpoint: Path | None
    recipe: dict[str, Any]
    pictures: bool
    peers: Peers

    def __call__(self) -> None:
        """Do it.

        Raises:
            UsageError: the run is being trained by another process, or cannot be resumed.
            RunError: the training failed, or a file cannot be read or written.
        """
        self.first = self.trainer.is_global_zero  # of several processes, the one that writes and prints
        with runs.hold(self.run if self.first else None):
            self._trackers = [logger for logger in self.trainer.loggers if isinstance(logger, WandbLogger)]
            lines, finished = self._resume(self.checkpoint) if self.checkpoint else self._begin()
            if finished and not self.peers.agree(self._missing()):
                self._print([*lines, f"run          {printable(self.run)}"])
                return
            failed = True
            try:
                with self._failures_explained():
                    self.peers.meet(self.trainer)
                    self._print(lines)
                    lines = self._complete() if finished else self._train()
                failed = False
            finally:
                for tracker in self._trackers:
                    tracker.close(failed)
            where = [line for tracker in self._trackers for line in tracker.where_to_look()]
            self._print([*lines, *where])

    def _begin(self) -> tuple[list[str], bool]:
        """Take the W&B run of a start that ended before its first checkpoint; return as `_resume`: nothing, and no."""
        for tracker in self._trackers:
            tracker.resume(begun_in(self.run) if self.run and self.first else None)
        return [], False

    def _resume(self, path: Path) -> tuple[list[str], bool]:
        """Check that the run can be resumed exactly; return lines to print and whether no epoch is left to train."""
        checkpoint = results.load(self.model, path)
        resume.check(checkpoint, path, self.recipe, self.trainer)
        threads = resume.take_threads(checkpoint, self.trainer.global_rank)
        lines = [threads] if threads else []
        finished = self.run is not None and resume.is_finished(checkpoint, self.trainer)
        if finished and not self.peers.agree((path.parent / "config.yaml").exists()):
            raise UsageError(
                f"{printable(path)}: all its epochs are trained and it is not in a run's folder; pass a "
                f"larger trainer.max_epochs, or test it: test --ckpt_path {pasted(path)}"
            )
        if finished:
            self.run = path.parent  # in all processes
            lines.append(resume.finished_line(checkpoint))
        else:
            lines.append(f"resumes      {printable(path)}, after epoch {checkpoint['epoch'] + 1}")
        for tracker in self._trackers:
            tracker.resume(checkpoint.get(CHECKPOINT_KEY) if path.parent == self.run else None)
        if self.first and path.parent == self.run:
            checkpoints.check_best(self.run, checkpoint, trained=finished)
        return lines, finished

    def _missing(self) -> list[str]:
        """Return the names of the files that this finished run should have and has not."""
        assert self.run
        run, tested = self.run, self.trainer.limit_test_batches == 1.0
        wanted = [results.WEIGHTS] + [results.RESULTS] * tested + [results.PICTURES] * (tested and self.pictures)
        return [name for name in wanted if not (run / name).exists()]

    def _complete(self) -> list[str]:
        """Add to a finished run what it lacks; return the lines to print."""
        self.data.prepare_data()
        self.data.setup("fit")  # the pictures show training samples
        return self._test(validated=True)

    def _train(self) -> list[str]:
        """Train, then test; return the lines to print."""
        self.trainer.fit(self.model, datamodule=self.data, ckpt_path=self.checkpoint, weights_only=True)
        if self.run and self.first:
            runs.check_there(self.run)
        # whether the weights that the training ended with were
        validated = "val/acc" in self.trainer.callback_metrics
        return [*self._reasons_to_stop(), *self._test(validated)]

    def _reasons_to_stop(self) -> list[str]:
        """Return a line for each callback that ended the training before its last epoch."""
        lines = []
        for each in self.trainer.callbacks:  # type: ignore[attr-defined]  # a connector of Lightning's sets it
            if isinstance(each, EarlyStopping) and each.stopping_reason_message:
                lines.append(f"stopped      {one_line(each.stopping_reason_message)}")
            elif isinstance(each, Timer) and (each.time_remaining() or 1) <= 0:
                lines.append(f"stopped      trainer.max_time: {each.time_elapsed():.0f} s were trained")
        return lines

    def _test(self, validated: bool) -> list[str]:
        """Test the run's checkpoint; write weights, results and pictures; return the lines to print."""
        files = [self.run / name for name in (runs.BEST, runs.LAST)] if self.run else []
        kept = checkpoints.share(next((file for file in files if file.exists()), None), self.peers)
        if not kept:
            lines = ["not tested: no checkpoint was kept"]
            return lines + ([f"run          {printable(self.run)}"] if self.run else [])
        assert self.run
        line, metrics = "not tested   (trainer.limit_test_batches is 0)", dict[str, float]()
        if self.trainer.limit_test_batches == 0:
            results.load(self.model, kept)
        else:
            line, metrics = results.evaluate(self.trainer, self.model, self.data, "test", kept)
        if metrics and kept.name == runs.LAST:
            asked = self.data.val_size and self.trainer.limit_val_batches != 0
            what = "no epoch was validated at its end" if asked else "nothing was validated"
            line += f" ({what}, so there is no best)"
        elif metrics and not validated:
            epoch, last = checkpoints.read_checkpoint(kept)["epoch"] + 1, self.trainer.current_epoch
            line += f" (epoch {epoch}; epoch {last}, the last one, was not validated at its end)"
        seconds = 0.0
        if self.first:
            seconds = results.keep(self.run, kept, self.model, self.data, metrics, self.trainer)
            if metrics and self.pictures:
                pictures = results.draw(self.run, self.model, self.data, self.trainer)
                for tracker in self._trackers:
                    tracker.log_pictures(pictures)
        return [line, f"run          {printable(self.run)}  ({seconds:.0f} s of training)"]

    def _print(self, lines: list[str]) -> None:
        if lines and self.first:
            print("\n".join(lines), flush=True)

    @contextmanager
    def _failures_explained(self) -> Iterator[None]:
        try:
            yield
        except (MisconfigurationException, ModuleNotFoundError) as error:  # of a callback, its package is not there
            raise UsageError(one_line(error, 2_000)) from error
        except OSError as error:
            if not error.filename:
                raise
            raise RunError(
                f"{error.filename}: cannot be written ({error.strerror}); what was there before is intact"
                f"{'; ' * bool(remedy(error))}{remedy(error)}{runs.resume_hint(self.run)}"
            ) from error
        except RuntimeError as error:
            if self.trainer.world_size == 1:
                raise
            if failure := self.peers.failure(runs.resume_hint(self.run)):
                raise failure from error
            raise RunError(
                f"trainer.devices: all {self.trainer.world_size} processes must live, one ended, failed or is out of "
                f"reach{runs.resume_hint(self.run)} ({one_line(error)})"
            ) from error
