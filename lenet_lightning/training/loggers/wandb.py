"""The W&B logger that needs no account, and never costs a run."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning import LightningModule, Trainer
from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from lenet_lightning.errors import one_line, pasted
from lenet_lightning.evaluation.metrics import surest_errors
from lenet_lightning.training.loggers import wandb_client as client

PROJECT = "lenet_lightning"
SERVER_S = 5  # of silence when a run begins; the client's own 90 would look like a hang
FINISH_S = 60  # for what is still to be sent at the end
FAILED_S = 3  # for the same after a failure

# beside the last value, the run table should show and sort by the best
BEST = {"train/loss": "min", "val/loss": "min", "train/acc": "max", "val/acc": "max"}

MOST_ERRORS = 200  # in the table: each is a file to upload, and an untrained network makes thousands

CHECKPOINT_KEY = "wandb_id"


class WandbLogger(LightningWandbLogger):
    """Log to W&B when logged in, else to files that `wandb leet` shows and `wandb sync` sends later; never ask.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS, WANDB_NAME and the like are respected; invalid ones are ignored
    with a line on stderr. The client's process is always this run's own, its files stay in `save_dir`. When it fails or
    hangs, the training continues without it: metrics.csv has everything, and one line on stderr names the reason.

    Args:
        save_dir: folder of the files; the command line sets it to the run's.
        project: the project on W&B; WANDB_PROJECT, else lenet_lightning, unless passed.
        name: the run's name on W&B; WANDB_NAME, else the run folder's, unless passed.
        entity: the account or team; WANDB_ENTITY unless passed.
        group: what the run is a part of, e.g. the seeds of one recipe.
        job_type: what kind of run it is.
        tags: words to find it by.
        notes: a text about it.
        offline: whether to keep it on this machine even where someone is logged in.
        log_model: `all` to upload each checkpoint that is written; the best one is, at the end, in any case.
        kwargs: what else wandb.init takes.

    Raises:
        ValueError: WANDB_MODE is none of W&B's modes, or `project` is no valid name.
    """

    def __init__(
        self,
        save_dir: str = ".",
        project: str | None = None,
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        offline: bool = False,
        log_model: Literal["all"] | bool = False,
        **kwargs: Any,
    ) -> None:
        client.prepare_environment(Path(save_dir))
        try:
            settings = wandb.Settings(
                project=project,
                silent=True,  # our own lines name what matters of the client's
                console="wrap",
                save_code=True,  # what differs from the commit; WANDB_SAVE_CODE=false leaves it out
                init_timeout=SERVER_S,
                finish_timeout=FINISH_S,
                finish_timeout_raises=True,
                stop_on_fatal_error=False,
                use_dot_wandb=False,
            )
        except wandb.errors.UsageError as error:
            raise ValueError(f"WandbLogger: {client.reason(error)}") from error
        mode = "offline" if offline else os.environ.get("WANDB_MODE") or client.mode()
        given = {"entity": entity, "group": group, "job_type": job_type, "tags": tags, "notes": notes}
        options: dict[str, Any] = {"mode": mode, "settings": settings, "log_model": log_model}
        options |= {each: value for each, value in given.items() if value is not None}
        super().__init__(
            save_dir=save_dir,
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name or os.environ.get("WANDB_NAME") or Path(save_dir).name,
            **options | kwargs,
        )
        # Lightning passes on an argument that wandb is about to drop and warns of
        self._wandb_init.pop("anonymous", None)
        self._lost = False

    def resume(self, run_id: str | None) -> None:
        """Continue the W&B run with this id, which a checkpoint has kept; with None, begin a new one."""
        if run_id and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run_id):  # it becomes part of a path
            self._id = self._wandb_init["id"] = run_id
        elif run_id:
            client.say(f"the checkpoint's run id is invalid ({one_line(run_id, 80)}); a new W&B run begins")

    @property
    def experiment(self) -> Any:
        """The W&B run, begun at the first use; offline if the server does not answer, a dummy if the client fails."""
        if self._experiment is None and not self._lost and not getattr(rank_zero_only, "rank", 0):
            self._begin()
        return _DummyExperiment() if self._lost else super().experiment

    def _begin(self) -> None:
        def begin() -> None:
            run = LightningWandbLogger.experiment.fget(self)  # type: ignore[attr-defined]  # a property
            for metric, best in BEST.items():
                run.define_metric(metric, summary=f"{best},last", step_metric="trainer/global_step")

        reason: Exception | None = None
        asked = self._wandb_init["mode"]
        for mode in (asked,) if asked in ("disabled", "offline", "dryrun") else (asked, "offline"):
            self._wandb_init["mode"] = mode
            try:
                with client.complaints():
                    client.bounded(client.CALL_S, begin)
            except Exception as error:  # of the client's, of pydantic's, of the file system's
                reason = error
                self._experiment = None
                client.end_client(isinstance(error, TimeoutError))  # or the next would take the run's id for one in use
            else:
                if reason:
                    client.say(f"{client.reason(reason)}; this run is kept offline")
                return
        self._lose(reason)

    @property
    def online(self) -> bool:
        """Whether the run is on a server now."""
        return (
            not self._lost
            and self._experiment is not None
            and not (self._experiment.offline or self._experiment.disabled)
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step; those of the test into the run's summary, as they come once and make no chart."""
        test = {name: value for name, value in metrics.items() if name.startswith("test/")}
        if test:
            self._attempt(lambda: self.experiment.summary.update(test))
        else:
            self._attempt(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Add to the run's config."""
        self._attempt(super().log_hyperparams, params)

    @rank_zero_only
    def log_pictures(self, pictures: list[Path]) -> None:
        """Log PNG files as images, under `pictures/`."""

        def log() -> None:
            images = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in pictures}
            self.experiment.log(images)
            for name in images:  # the summary would have their sizes, sums and paths
                del self.experiment.summary[name]

        self._attempt(log)

    @rank_zero_only
    def log_errors(self, images: Any, labels: Tensor, logits: Tensor) -> None:
        """Log the surest errors of the test as a table, and its confusion matrix as a chart; online only.

        Offline nothing draws either, and the dashboard in the terminal would show charts of their row counts.

        Args:
            images: (N, 28, 28), uint8, all test samples.
            labels: (N,), what they are.
            logits: (N, 10), the predictions.
        """

        def log() -> None:
            probability, predicted = logits.softmax(1).max(1)
            surest = surest_errors(logits, labels, MOST_ERRORS).tolist()
            columns: list[str | int] = ["index", "digit", "is", "predicted", "probability"]
            values = (labels.tolist(), predicted.tolist(), probability.tolist())
            rows = [[at, wandb.Image(images[at]), *(value[at] for value in values)] for at in surest]
            table = wandb.Table(columns=columns, data=rows)
            classes = [str(digit) for digit in range(10)]
            chart = wandb.plot.confusion_matrix(y_true=values[0], preds=values[1], class_names=classes)
            self.experiment.log({"test/errors": table, "test/confusion_matrix": chart})

        if self.online:
            self._attempt(log)

    @rank_zero_only
    def log_data(self, name: str, sums: dict[str, str]) -> None:
        """Log a data set as the run's input: the SHA-256 sums of its files by their names, not the 50 MB; online only.

        W&B keeps one version of equal sums, and shows which runs used it.
        """

        def log() -> None:
            artifact = wandb.Artifact(name, type="dataset", metadata=sums)
            with artifact.new_file("SHA256SUMS") as file:
                file.writelines(f"{value}  {each}\n" for each, value in sums.items())
            self.experiment.use_artifact(artifact)

        if self.online:
            self._attempt(log)

    @rank_zero_only
    def log_files(self, files: list[Path], metadata: dict[str, Any]) -> None:
        """Log a run's files as one artifact, named as the network, with its metadata; online only.

        The first of `files` is the checkpoint that the run is judged by, best or last: the artifact's alias.
        """

        def log() -> None:
            artifact = wandb.Artifact(metadata["network"], type="model", metadata=metadata)
            for file in files:
                artifact.add_file(str(file))
            self.experiment.log_artifact(artifact, aliases=[files[0].stem, f"seed-{metadata['seed']}"])

        if self.online:
            self._attempt(log)

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the W&B run, with everything written (and, online, sent), and the client's process."""
        if self._experiment is not None:
            seconds = FAILED_S if failed else FINISH_S + client.END_S if self.online else client.CALL_S
            self._attempt(self._experiment.finish, int(failed), seconds=seconds)
        if not self._lost:
            client.end_client()
            shutil.rmtree(Path(self._save_dir or ".", client.CACHES), ignore_errors=True)  # copies of what was sent

    def where_to_look(self) -> list[str]:
        """Return lines that show where to look at this run."""
        run = self._experiment
        if run is None or run.disabled:
            return []
        if not run.offline and not self._lost:
            return [f"W&B          {one_line(run.url)}"]
        folder = Path(os.path.relpath(Path(run.dir).parent))
        parts = f"{'offline-' if run.offline else ''}run-*-{run.id}"  # a resumed run has several
        return [
            f"look at it   python -m lenet_lightning dashboard {pasted(folder.parents[1])}",
            f"send to W&B  wandb login && wandb sync {pasted(folder.parent)}/{parts}",
        ]

    def _attempt(self, action: Callable[..., Any], *arguments: Any, seconds: float | None = None) -> None:
        if isinstance(self.experiment, _DummyExperiment):
            return
        try:
            with client.copies():
                client.bounded(seconds or client.CALL_S, action, *arguments)
        except Exception as error:  # the client's process may die in any way it likes
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        self._lost = True
        client.say(
            f"the client failed ({client.reason(error)}); the training continues without it, metrics.csv has everything"
        )
        client.end_client(hangs=isinstance(error, TimeoutError))


def begun_in(run: Path) -> str | None:
    """Return the id of the newest W&B run in a run's folder; None if there is none."""
    found = sorted(run.glob("wandb/*run-*-*"), key=lambda path: path.name.rpartition("run-")[2])
    return found[-1].name.rpartition("-")[2] if found else None


class RunId(Callback):
    """Keep the W&B run's id in each checkpoint, so that a resumed training continues the same W&B run."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id."""
        ids = [logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        checkpoint[CHECKPOINT_KEY] = ids[0] if ids else None
