"""Checkpoints of a run: which are kept, how they are written and read, and how they are found again."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lenet_lightning import run_folders
from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError, pasted, printable
from lenet_lightning.pickled import unpickle
from lenet_lightning.training.peers import Peers
from lenet_lightning.training.runs import BEST, LAST, check_there, set_aside, warn

# the score of best.ckpt, in the state of the callback that keeps it
SCORE = "best_model_score"

# in other processes than the first: the bytes of the checkpoints that it sent, by the path that they have there
RECEIVED: dict[Path, bytes] = {}

# what a checkpoint holds besides tensors, and of which kind: a file from elsewhere may hold anything
KINDS: dict[str, type | tuple[type, ...]] = {
    "state_dict": dict,
    "epoch": int,
    "current_model_state": dict,
    "averaging_state": dict,
    "training_seconds": (int, float),
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "recipe": dict,
    "random": list,
    "whole_epoch": bool,
    "wandb_id": (str, type(None)),
}


def check_best(run: Path, checkpoint: dict[str, Any], trained: bool) -> None:
    """Make sure before a run is resumed that its best.ckpt is there, or that its loss is reported.

    A best.ckpt that cannot be used is renamed; the best of the epochs to come is then kept.

    Args:
        run: the folder of the run.
        checkpoint: that the run is resumed from.
        trained: whether no epoch is left to train.

    Raises:
        RunError: it cannot be used, and no epoch will replace it; or it cannot be renamed.
    """
    score = _score_of(checkpoint)
    best = run / BEST
    if score is None and not os.path.lexists(best):
        return  # nothing was validated
    reason = _fault_of_best(best, checkpoint)
    if not reason:
        return
    lost = "" if score is None else f", the weights with val/acc {score:.2%} are lost"
    if trained:
        raise RunError(
            f"{printable(best)}: {reason}{lost}; no epoch is left to train, the last one can be tested: "
            f"test --ckpt_path {pasted(run / LAST)}"
        )
    kept = ""
    if os.path.lexists(best):
        try:
            kept = f" (kept as {set_aside(best).name})"
        except OSError as error:
            raise RunError(f"{printable(best)}: {reason}, and cannot be renamed: {error.strerror}") from error
    warn(f"{printable(best)}: {reason}{kept}{lost}; from here on the best epoch to come is kept")


def _fault_of_best(best: Path, checkpoint: dict[str, Any]) -> str:
    if not os.path.lexists(best):
        return "is missing"
    if not best.is_file():
        return "is not a file"
    try:
        kept = read_checkpoint(best)
    except RunError:
        return "is damaged"
    if _score_of(kept) is None:
        return "has no score"
    shapes = [
        {name: getattr(value, "shape", None) for name, value in c["state_dict"].items()} for c in (kept, checkpoint)
    ]
    return "" if shapes[0] == shapes[1] else "is of another network"


def checkpoints(run: Path, validated: bool) -> list[ModelCheckpoint]:
    """Return the callbacks that keep last.ckpt in `run` and, where there is a validation, best.ckpt by its accuracy."""
    settings: dict[str, Any] = {
        # a string: a path object in its state could not be loaded again with weights_only
        "dirpath": str(run),
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
        # a run can be resumed exactly from the end of an epoch alone
        "save_on_train_epoch_end": True,
    }
    # Lightning's own save_last is written only when a best one is
    last = _KeptInRun(filename=Path(LAST).stem, monitor=None, **settings)
    best = _KeptInRun(filename=Path(BEST).stem, monitor="val/acc", mode="max", **settings)
    return [best, last] if validated else [last]


class _KeptInRun(ModelCheckpoint):
    """Keep one file of a fixed name, and no path in a checkpoint.

    Lightning's own saves paths, and removes, recursively, what stands in those of a checkpoint that it resumes. Here
    the best score is read from the best.ckpt that is in the run's folder, so that the two always belong together, and
    a run's folder may be moved.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; best.ckpt only where these weights were validated, at which Lightning's own would raise."""
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {SCORE: self.best_model_score} if self.monitor else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing: `on_load_checkpoint` has what is needed."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the best score from the run's folder; drop what the checkpoint has of other ModelCheckpoints' paths."""
        for other in trainer.checkpoint_callbacks:
            if isinstance(other, ModelCheckpoint) and not isinstance(other, _KeptInRun):
                found = [checkpoint["callbacks"].pop(key, None) for key in (other.state_key, other._legacy_state_key)]
                if any(found) and trainer.is_global_zero:
                    warn(f"trainer.callbacks: {type(other).__name__} ranks from here on, and leaves its earlier files")
        if not self.monitor:
            return
        path = Path(str(self.dirpath)) / BEST
        score = _score_of(read_checkpoint(path)) if trainer.is_global_zero and path.is_file() else None
        score = trainer.strategy.broadcast(score)
        if score is not None:
            self.best_model_path = self.kth_best_model_path = str(path)
            self.best_model_score = self.kth_value = torch.tensor(score)
            self.best_k_models = {str(path): self.best_model_score}


def _score_of(checkpoint: dict[str, Any]) -> float | None:
    """Return the best accuracy that a checkpoint holds; None if it holds none from 0 to 1."""
    for name, state in checkpoint.get("callbacks", {}).items():
        score = state.get(SCORE) if isinstance(state, dict) and str(name).startswith(_KeptInRun.__qualname__) else None
        if isinstance(score, torch.Tensor) and score.numel() == 1 and score.is_floating_point():
            return value if 0 <= (value := score.item()) <= 1 else None
    return None


def share(path: Path | None, peers: Peers) -> Path | None:
    """Return the first process's `path` in all of them; the others then read what it has there.

    Raises:
        OSError: the first process cannot read it.
    """
    name = peers.agree(path and str(path))
    if name is None or peers.alone:
        return path
    path = Path(name)
    content = peers.agree_on_bytes(path.read_bytes() if peers.first else b"")
    if not peers.first:
        RECEIVED[path] = content
    return path


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint whole or not at all, and read it without running anything in it.

    Lightning's own writes through the system's temporary folder: on another file system, a full disk or a kill in
    mid-copy destroys the older file, and a folder that is not writable is passed over in silence. It also removes
    folders.

    Args:
        run: the run's folder, which is never made here, or None where there is none.
    """

    def __init__(self, run: Path | None = None) -> None:
        super().__init__()
        self._run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Put a checkpoint in place of an older one.

        Raises:
            RunError: the run's folder was removed or moved.
            OSError: the folder cannot be written to, or is full; an older file is intact.
        """
        path = Path(path)
        if path.name.startswith("hpc_ckpt_"):
            return  # Lightning's, of a Slurm job that is about to end: within an epoch, from which no resume is exact
        packed = io.BytesIO()  # torch.save to a full disk raises something other than OSError
        torch.save(checkpoint, packed)
        if self._run:
            check_there(self._run)
        if not self._run or path.parent.absolute() != self._run.resolve():
            path.parent.mkdir(parents=True, exist_ok=True)  # of a ModelCheckpoint of the user's own
        with replacing(path) as partial:
            partial.write_bytes(packed.getbuffer())

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint of a user's own ModelCheckpoint; never a folder, a link or another kind of file."""
        path = Path(path)
        if path.suffix == ModelCheckpoint.FILE_EXTENSION and path.is_file() and not path.is_symlink():
            path.unlink()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of `fit` to the CPU; all arguments but `path` are Lightning's and change nothing.

        Raises:
            RunError: it is damaged, or not one of `fit`.
        """
        return read_checkpoint(Path(path))


def find(root: Path, wanted: str) -> Path:
    """Return the path of a checkpoint: `best` or `last` of the newest run below `root` that has one, or a file.

    `kept` is what the newest run is judged by: the best or, where nothing was validated, the last.

    Raises:
        UsageError: there is no such run or file, or it is an address.
    """
    named = {"best": (BEST,), "last": (LAST,), "kept": (BEST, LAST)}
    if wanted in named:
        if found := run_folders.newest(root, *named[wanted]):
            return found
        raise UsageError(
            f"{printable(root)}: no run with a {named[wanted][0]}; train one with `fit`, or name a file: "
            "--ckpt_path FILE"
        )
    asked = printable(wanted)
    if "://" in wanted:
        raise UsageError(
            f"--ckpt_path {asked}: must be a file on this machine; download it from a source you trust first"
        )
    path = Path(wanted)
    if not os.path.isfile(path):
        beside = sorted(printable(p) for p in (path if path.is_dir() else path.parent).glob("*.ckpt"))
        there = f"; there are {', '.join(beside[:5])}" if beside else ""
        raise UsageError(f"--ckpt_path {asked}: must be best, last or a file that exists{there}")
    if path.parent.name == "latest" and (run := run_folders.latest(path.parent.parent)):
        return run / path.name  # a run has one name, and the link will point elsewhere
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Raises:
        RunError: it is damaged, or not one of `fit`; a best.ckpt beside a last.ckpt is mentioned if that can be read.
    """
    try:
        return _read_checkpoint(path)
    except RunError as error:
        best = path.with_name(BEST)
        if path.name != LAST or not best.is_file():
            raise
        try:
            _read_checkpoint(best)
        except RunError:
            raise error from None
        raise RunError(f"{error}; {BEST} beside it is whole: --ckpt_path {pasted(best)}") from error


def _read_checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = unpickle(path, RECEIVED.get(path))
    if not isinstance(checkpoint, dict) or not {"state_dict", "epoch", "training_seconds"} <= checkpoint.keys():
        raise RunError(
            f"{printable(path)}: is not a checkpoint of this project's `fit`; pass another one with --ckpt_path"
        )
    for name, kind in KINDS.items():
        if name in checkpoint and not isinstance(checkpoint[name], kind):
            got = type(checkpoint[name]).__name__
            raise RunError(f"{printable(path)}: its {name} is a {got}, unlike those of `fit`; pass another one")
    return checkpoint
