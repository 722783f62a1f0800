"""The W&B logger that needs no account, and never costs a run."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

PROJECT = "lenet_lightning"
MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
INIT_TIMEOUT_S = 5  # of silence from the server; the client's own 90 would look like a hang
FINISH_TIMEOUT_S = 60  # for what is still to be sent at the end

# beside the last value, the run table should show and sort by the best
BEST = {"train/loss": "min", "val/loss": "min", "train/acc": "max", "val/acc": "max"}

MOST_ERRORS = 200  # in the table: each is a file to upload, and an untrained network makes thousands

CHECKPOINT_KEY = "wandb_id"


class WandbLogger(LightningWandbLogger):
    """Log to W&B when logged in, else to files that `wandb leet` shows and `wandb sync` sends later; never ask.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS, WANDB_NAME and the like are respected. When the client fails,
    the training goes on: metrics.csv has everything, and one line on stderr says what was lost.

    Args:
        save_dir: folder of the files; the command line sets it to the run's.
        project: the project on W&B; WANDB_PROJECT, else lenet_lightning, unless given.
        name: the run's name on W&B; WANDB_NAME, else the run folder's, unless given.
        kwargs: what wandb.init takes: tags, group, notes, ...

    Raises:
        ValueError: WANDB_MODE is none of W&B's modes.
    """

    def __init__(self, save_dir: str = ".", project: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(
            save_dir=save_dir,
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name or os.environ.get("WANDB_NAME") or Path(save_dir).name,
            **{"mode": _mode()} | kwargs,
        )
        # Lightning passes on an argument that wandb is about to drop and warns of
        self._wandb_init.pop("anonymous", None)
        # our own lines tell what the client's chatter would; the console holds nothing that metrics do not
        quiet = wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_S, finish_timeout=FINISH_TIMEOUT_S)
        self._wandb_init.setdefault("settings", quiet)
        self._lost = False

    def go_on(self, run_id: str | None) -> None:
        """Let what is logged join the W&B run `run_id` that a resumed training began."""
        if run_id:
            self._id = self._wandb_init["id"] = run_id

    @property
    def experiment(self) -> Any:
        """The W&B run, begun at the first use; offline if the server does not answer in time."""
        if self._experiment is not None or rank_zero_only.rank:
            return super().experiment
        try:
            run = super().experiment
        except (wandb.errors.Error, OSError) as error:
            _say(f"no answer ({_first_line(error)}); this run is kept offline")
            run = self._begin_again("offline")
        for metric, best in BEST.items():
            run.define_metric(metric, summary=f"{best},last", step_metric="trainer/global_step")
        return run

    def _begin_again(self, mode: Literal["offline", "disabled"]) -> Any:
        wandb.teardown()  # or the client's process would take the run's id for one in use
        self._wandb_init["mode"] = mode
        try:
            return super().experiment
        except (wandb.errors.Error, OSError) as error:
            if mode == "disabled":
                raise
            _say(f"nothing can be kept ({_first_line(error)}); metrics.csv has everything")
            return self._begin_again("disabled")

    @property
    def online(self) -> bool:
        """Whether the run is on a server now."""
        return (
            not self._lost
            and self._experiment is not None
            and not (self._experiment.offline or self._experiment.disabled)
        )

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log figures of a step; those of the test into the run's summary, as they come once and make no chart."""
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
            self.experiment.log({f"pictures/{path.stem}": wandb.Image(str(path)) for path in pictures})

        self._attempt(log)

    @rank_zero_only
    def log_errors(self, images: Any, labels: list[int], read: list[int], probability: list[float]) -> None:
        """Log the surest errors of the test as a table, and its confusion matrix as a chart; online only.

        Offline nothing draws either, and the dashboard in the terminal would show charts of their row counts.

        Args:
            images: (N, 28, 28), uint8, all test digits.
            labels: their digits.
            read: what they were read as.
            probability: with what probability.
        """

        def log() -> None:
            wrong = [index for index, true in enumerate(labels) if true != read[index]]
            surest = sorted(wrong, key=lambda index: -probability[index])[:MOST_ERRORS]
            columns = ["index", "digit", "is", "read as", "probability"]
            rows = [[at, wandb.Image(images[at]), labels[at], read[at], probability[at]] for at in surest]
            table = wandb.Table(columns=columns, data=rows)
            classes = [str(digit) for digit in range(10)]
            chart = wandb.plot.confusion_matrix(y_true=labels, preds=read, class_names=classes)
            self.experiment.log({"test/errors": table, "test/confusion_matrix": chart})

        if self.online:
            self._attempt(log)

    @rank_zero_only
    def log_files(self, files: list[Path], facts: dict[str, Any]) -> None:
        """Log a run's files as one artifact, named as the network, with its facts; online only.

        The first of `files` is the checkpoint that the run is judged by, best or last: the artifact's alias.
        """

        def log() -> None:
            artifact = wandb.Artifact(facts["network"], type="model", metadata=facts)
            for file in files:
                artifact.add_file(str(file))
            self.experiment.log_artifact(artifact, aliases=[files[0].stem, f"seed-{facts['seed']}"])

        if self.online:
            self._attempt(log)

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the W&B run, with everything written (and, online, sent)."""
        if self._experiment is not None:
            self._attempt(self._experiment.finish, int(failed))
        if self._lost:
            with suppress(Exception):
                wandb.teardown()  # now, in silence, rather than at the interpreter's end with a traceback

    def where_to_look(self) -> list[str]:
        """Give the lines that tell a person how to look at this run."""
        if self._experiment is None or self._experiment.disabled:
            return []
        if not self._experiment.offline:
            return [f"W&B          {self._experiment.url}"]
        folder = Path(os.path.relpath(Path(self._experiment.dir).parent))
        parts = folder.parent / f"offline-run-*-{self._experiment.id}"  # a resumed run has several
        return [
            f"look at it   python -m lenet_lightning dashboard {folder.parents[1]}",
            f"send to W&B  wandb login && wandb sync {parts}",
        ]

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> None:
        if self._lost:
            return
        try:
            action(*arguments)
        except Exception as error:  # the client's process may die in any way it likes
            self._lost = True
            _say(f"the client failed ({_first_line(error)}); the training goes on, metrics.csv has everything")


class RunId(Callback):
    """Keep the W&B run's id in each checkpoint, so that a resumed training goes on in the same W&B run."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id."""
        ids = [logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        checkpoint[CHECKPOINT_KEY] = ids[0] if ids else None


def _mode() -> str:
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise ValueError(
            f"WANDB_MODE must be one of {', '.join(MODES)}, got {mode!r}; unset it to let the login decide"
        )
    if mode:
        return mode
    try:
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except wandb.errors.AuthenticationError:
        _say("the key is malformed; this run is kept offline (mend it with: wandb login)")
        return "offline"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@rank_zero_only
def _say(text: str) -> None:
    print(f"W&B: {text}", file=sys.stderr, flush=True)
