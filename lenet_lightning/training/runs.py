"""Run folders: where a run keeps what it makes, and how its checkpoints are written and found again."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import weights

BEST, LAST = "best.ckpt", "last.ckpt"


def create(root: Path, name: str) -> Path:
    """Make the folder of a new run, <root>/<time>-<name>, and give its path.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            run = root / (stem if number == 1 else f"{stem}-{number}")
            try:
                run.mkdir()
            except FileExistsError:
                continue
            check_writable(run)
            return run
    except OSError as error:
        raise RunError(
            f"{root}: the folder for runs must be writable, got: {error.strerror}; "
            "name another one with --trainer.default_root_dir"
        ) from error
    raise RunError(f"{root}: 999 runs named {stem} are there already; try again in a second")


def check_writable(run: Path) -> None:
    """Find out before the first step, not after the first epoch, whether a run can be kept.

    Raises:
        OSError: it cannot.
    """
    probe = run / ".probe"
    try:
        probe.write_bytes(b"\0")
    finally:
        probe.unlink(missing_ok=True)


def clear_partial(run: Path) -> None:
    """Remove what writes that were killed left behind."""
    for partial in run.glob(".*.????????.*"):
        partial.unlink()


def point_latest(run: Path) -> None:
    """Let <root>/latest point at `run`."""
    link = run.parent / f".latest-{os.getpid()}"
    try:
        link.symlink_to(run.name, target_is_directory=True)
        link.replace(run.parent / "latest")
    except OSError:
        link.unlink(missing_ok=True)  # a convenience that some file systems lack; nothing here reads it


def checkpoints(run: Path, validated: bool) -> list[ModelCheckpoint]:
    """Give the callbacks that keep, in `run`, last.ckpt and, where there is a validation, best.ckpt by its accuracy."""
    settings = {
        # a string: a path object in its state could not be loaded again with weights_only
        "dirpath": str(run),
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
        # only from an epoch's end can a run go on exactly
        "save_on_train_epoch_end": True,
    }
    # Lightning's own save_last is written only when a best one is
    last = _KeptInRun(filename=Path(LAST).stem, monitor=None, **settings)
    best = _KeptInRun(filename=Path(BEST).stem, monitor="val/acc", mode="max", **settings)
    return [best, last] if validated else [last]


class _KeptInRun(ModelCheckpoint):
    """Know its files by name alone: a run's folder may be moved, and equal runs have equal checkpoints.

    After a move, Lightning's own would forget the best score, and let a worse epoch take the place of the best.
    """

    def state_dict(self) -> dict[str, Any]:
        return _paths(super().state_dict(), lambda path: Path(path).name) | {"dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(self.dirpath)
        if (folder / state_dict["best_model_path"]).exists():  # else this run is another one
            here = _paths(state_dict, lambda name: str(folder / name) if name else "")
            super().load_state_dict(here | {"dirpath": self.dirpath})
            self.current_score = state_dict["current_score"]  # Lightning forgets it


def _paths(state: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    single = ("best_model_path", "kth_best_model_path", "last_model_path")
    best = {change(path): score for path, score in state["best_k_models"].items()}
    return state | {name: change(state[name]) for name in single} | {"best_k_models": best}


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint whole or not at all, and read it without running anything in it.

    Lightning's own writes through the system's temporary folder: on another file system, a full disk or a kill in
    mid-copy destroys the older file, and a folder that is not writable is passed over in silence.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Put a checkpoint in place of an older one.

        Raises:
            OSError: the folder cannot be written to, or is full; an older file is intact.
        """
        packed = io.BytesIO()  # torch.save to a full disk raises something other than OSError
        torch.save(checkpoint, packed)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as partial:
            partial.write_bytes(packed.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of `fit` to the CPU; all arguments but `path` are Lightning's and change nothing.

        Raises:
            RunError: it is damaged, or not one of `fit`.
        """
        return read_checkpoint(Path(path))


def find(root: Path, wanted: str) -> Path:
    """Give the path of a checkpoint: `best` or `last` of the newest run below `root` that has one, or a file.

    `kept` is what the newest run is judged by: the best or, where nothing was validated, the last.

    Raises:
        UsageError: there is no such run or file, or it is an address.
    """
    named = {"best": (BEST,), "last": (LAST,), "kept": (BEST, LAST)}
    if wanted in named:
        if found := weights.newest(root, *named[wanted]):
            return found
        raise UsageError(
            f"{root}: no run with a {named[wanted][0]}; train one with `fit`, or name a file: --ckpt_path FILE"
        )
    if "://" in wanted:
        raise UsageError(
            f"--ckpt_path {wanted}: must be a file on this machine; download it from a source you trust first"
        )
    path = Path(wanted)
    if not path.is_file():
        beside = sorted(str(p) for p in (path if path.is_dir() else path.parent).glob("*.ckpt"))
        there = f"; there are {', '.join(beside[:5])}" if beside else ""
        raise UsageError(f"--ckpt_path {wanted}: must be best, last or a file that exists{there}")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Raises:
        RunError: it is damaged, or not one of `fit`.
    """
    checkpoint = weights.unpickle(path)
    if isinstance(checkpoint, dict) and {"state_dict", "epoch", "training_seconds"} <= checkpoint.keys():
        return checkpoint
    raise RunError(f"{path}: is no checkpoint of this project's `fit`; name another one with --ckpt_path")
