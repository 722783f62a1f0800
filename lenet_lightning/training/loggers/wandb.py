"""The W&B logger that needs no account, and never costs a run."""

import io
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from lightning import LightningModule, Trainer
from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from pydantic import ValidationError

from lenet_lightning.errors import one_line, printable

PROJECT = "lenet_lightning"
MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
SERVER_S = 5  # of silence when a run begins; the client's own 90 would look like a hang
CALL_S = 30  # for each call, as the client may hang
FINISH_S = 60  # for what is still to be sent at the end
FAILED_S, END_S = 3, 3  # together less than __main__.GRACE_S, or SIGTERM would leave a hanging client behind

# the service of a notebook or an agent may be dead, stopped or of another version; the other is a place for files
IGNORED = ("WANDB_SERVICE", "WANDB_X_FILES_DIR")

# beside the last value, the run table should show and sort by the best
BEST = {"train/loss": "min", "val/loss": "min", "train/acc": "max", "val/acc": "max"}

CACHES = "wandb/cache"
MOST_ERRORS = 200  # in the table: each is a file to upload, and an untrained network makes thousands

CHECKPOINT_KEY = "wandb_id"


class WandbLogger(LightningWandbLogger):
    """Log to W&B when logged in, else to files that `wandb leet` shows and `wandb sync` sends later; never ask.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS, WANDB_NAME and the like are respected; invalid ones are ignored
    with a line on stderr. The client's process is always this run's own, its files stay in `save_dir`. When it fails or
    hangs, the training continues without it: metrics.csv has everything, and one line on stderr names the reason.

    Args:
        save_dir: folder of the files; the command line sets it to the run's.
        project: the project on W&B; WANDB_PROJECT, else lenet_lightning, unless given.
        name: the run's name on W&B; WANDB_NAME, else the run folder's, unless given.
        kwargs: what wandb.init takes: tags, group, notes, ...

    Raises:
        ValueError: WANDB_MODE is none of W&B's modes, or `project` is no valid name.
    """

    def __init__(self, save_dir: str = ".", project: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        _prepare_environment(Path(save_dir))
        try:
            settings = wandb.Settings(
                project=project,
                silent=True,  # our own lines name what matters of the client's
                console="off",  # it holds nothing that metrics do not
                init_timeout=SERVER_S,
                finish_timeout=FINISH_S,
                finish_timeout_raises=True,
                stop_on_fatal_error=False,
                use_dot_wandb=False,
            )
        except wandb.errors.UsageError as error:
            raise ValueError(f"WandbLogger: {_reason(error)}") from error
        super().__init__(
            save_dir=save_dir,
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name or os.environ.get("WANDB_NAME") or Path(save_dir).name,
            **{"mode": os.environ.get("WANDB_MODE") or _mode(), "settings": settings} | kwargs,
        )
        # Lightning passes on an argument that wandb is about to drop and warns of
        self._wandb_init.pop("anonymous", None)
        self._lost = False

    def go_on(self, run_id: str | None) -> None:
        """Let what is logged join the W&B run `run_id`, of which a checkpoint has the id."""
        if run_id and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run_id):  # it becomes part of a path
            self._id = self._wandb_init["id"] = run_id
        elif run_id:
            _say(f"the checkpoint's run id is invalid ({one_line(run_id, 80)}); a new W&B run begins")

    @property
    def experiment(self) -> Any:
        """The W&B run, begun at the first use; offline if the server does not answer, a dummy if the client fails."""
        if self._experiment is None and not self._lost and not rank_zero_only.rank:
            self._begin()
        return _DummyExperiment() if self._lost else super().experiment

    def _begin(self) -> None:
        def begin() -> None:
            run = LightningWandbLogger.experiment.fget(self)
            for metric, best in BEST.items():
                run.define_metric(metric, summary=f"{best},last", step_metric="trainer/global_step")

        reason, asked = None, self._wandb_init["mode"]
        for mode in (asked,) if asked in ("disabled", "offline", "dryrun") else (asked, "offline"):
            self._wandb_init["mode"] = mode
            try:
                with _complaints():
                    _bounded(CALL_S, begin)
            except Exception as error:  # of the client's, of pydantic's, of the file system's
                reason = error
                self._experiment = None
                _end_client(isinstance(error, TimeoutError))  # or the next would take the run's id for one in use
            else:
                if reason:
                    _say(f"{_reason(reason)}; this run is kept offline")
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
        """End the W&B run, with everything written (and, online, sent), and the client's process."""
        if self._experiment is not None:
            seconds = FAILED_S if failed else FINISH_S + END_S if self.online else CALL_S
            self._attempt(self._experiment.finish, int(failed), seconds=seconds)
        if not self._lost:
            _end_client()
            shutil.rmtree(Path(self._save_dir, CACHES), ignore_errors=True)  # copies of what was sent

    def where_to_look(self) -> list[str]:
        """Return the lines that tell a person how to look at this run."""
        run = self._experiment
        if run is None or run.disabled:
            return []
        if not run.offline and not self._lost:
            return [f"W&B          {one_line(run.url)}"]
        folder = Path(os.path.relpath(Path(run.dir).parent))
        parts = folder.parent / f"{'offline-' if run.offline else ''}run-*-{run.id}"  # a resumed run has several
        return [
            f"look at it   python -m lenet_lightning dashboard {printable(folder.parents[1])}",
            f"send to W&B  wandb login && wandb sync {printable(parts)}",
        ]

    def _attempt(self, action: Callable[..., Any], *arguments: Any, seconds: float | None = None) -> None:
        if isinstance(self.experiment, _DummyExperiment):
            return
        try:
            _bounded(seconds or CALL_S, action, *arguments)
        except Exception as error:  # the client's process may die in any way it likes
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._lost = True
        _say(f"the client failed ({_reason(error)}); the training continues without it, metrics.csv has everything")
        _end_client(hangs=isinstance(error, TimeoutError))


class RunId(Callback):
    """Keep the W&B run's id in each checkpoint, so that a resumed training goes on in the same W&B run."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id."""
        ids = [logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        checkpoint[CHECKPOINT_KEY] = ids[0] if ids else None


def _prepare_environment(folder: Path) -> None:
    """Check the variables one by one, as a single invalid one ends any call of the client."""
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise ValueError(
            f"WANDB_MODE must be one of {', '.join(MODES)}, got {one_line(mode)!r}; unset it to let the login decide"
        )
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        value = os.environ.pop(name)
        if not value or name in IGNORED:
            continue
        try:
            wandb.Settings().update_from_env_vars({name: value})
            os.environ[name] = value
        except Exception as error:
            _say(f"{one_line(name)} is invalid and ignored: {_reason(error)}")
    caches = str((folder / CACHES).absolute())  # else in the user's home
    os.environ |= {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": caches, "WANDB_DATA_DIR": caches}


def _mode() -> str:
    try:
        with _complaints():
            return "online" if _bounded(CALL_S, partial(wandb.login, prompt=False, verify=False)) else "offline"
    except wandb.errors.AuthenticationError:
        _say("the key is malformed; this run is kept offline (mend it with: wandb login)")
    except Exception as error:
        _say(f"{_reason(error)}; this run is kept offline")
    return "offline"


def _bounded(seconds: float, action: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `action` returns, or raise what it raises; TimeoutError if that takes longer."""
    outcome: Future[Any] = Future()

    def act() -> None:
        try:
            outcome.set_result(action(*arguments))
        except BaseException as error:  # the client exits the interpreter when its process failed
            outcome.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=act, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer in {seconds} s") from error


def _end_client(hangs: bool = False) -> None:
    """End the client, and kill its process if that fails or takes too long."""
    if hangs:
        _kill_client()
    with suppress(Exception):
        _bounded(END_S, wandb.teardown)
    _kill_client()
    wandb.run = None  # or Lightning would take the next run for part of a dead one


def _kill_client() -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, rest = stat.read_text(errors="replace").rsplit(")", 1)
            if name.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.killpg(int(stat.parent.name), signal.SIGKILL)  # it leads a group, for its own children


@contextmanager
def _complaints() -> Iterator[None]:
    """Turn what the client prints, as the traceback of a broken settings file, into one line."""
    with redirect_stderr(io.StringIO()) as printed:
        yield
    if printed.getvalue():
        _say(one_line(printed.getvalue().splitlines()[0].removeprefix("wandb: ")))


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return one_line(error.errors()[0]["msg"])
    return one_line(error) or type(error).__name__


@rank_zero_only
def _say(text: str) -> None:
    print(f"W&B: {text}", file=sys.stderr, flush=True)
