"""Exact resume: a run that was interrupted ends bit for bit as if it had not been."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lenet_lightning.errors import RunError, UsageError

RECIPE, RANDOM = "recipe", "random"

# where the data lie is no part of what is trained
PLACES = ("data.root", "data.mirrors")

# what the number of steps follows from, which a one-cycle schedule is made for
LENGTH = ("max_epochs", "max_steps", "limit_train_batches", "overfit_batches", "accumulate_grad_batches")


def recipe_of(config: dict[str, Any]) -> dict[str, Any]:
    """Give what must stay as it is from a run's first epoch to its last: dotted names of `config` and plain values."""
    fixed = {part: config[part] for part in ("seed_everything", "model", "data")}
    if config["model"]["schedule"] == "onecycle":
        fixed["trainer"] = {name: config["trainer"][name] for name in LENGTH}
    return {name: value for name, value in _flat(fixed) if name not in PLACES}


class ExactResume(Callback):
    """Keep in each checkpoint what Lightning does not: the states of the global random generators, and the recipe.

    The order of the digits and their distortion need no state: they are functions of seed, epoch and process.

    Args:
        recipe: as `recipe_of` gives it.
    """

    def __init__(self, recipe: dict[str, Any]) -> None:
        self._recipe = recipe
        self._states: list[dict[str, Any]] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the recipe, and the states of each process."""
        states: list[Any] = [_random_state()]
        if trainer.world_size > 1:
            (mine,), states = states, [None] * trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint[RECIPE], checkpoint[RANDOM] = self._recipe, states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the states."""
        self._states = checkpoint[RANDOM]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the states: what was drawn to set the training up was drawn before the interruption, too."""
        if self._states:
            _set_random_state(self._states[trainer.global_rank])


def check(checkpoint: dict[str, Any], path: Path, recipe: dict[str, Any], trainer: Trainer) -> None:
    """Refuse to go on from a checkpoint where that could not be exact.

    Args:
        checkpoint: what `path` holds.
        path: its file, to be named.
        recipe: of the run that is to go on.
        trainer: that is to train it.

    Raises:
        RunError: the checkpoint has no training state.
        UsageError: it was written within an epoch; the run is to go on with another recipe, with other processes, up
            to an epoch that is behind it, or with trainer.max_steps.
    """
    if missing := {"loops", "optimizer_states", "lr_schedulers", RECIPE, RANDOM} - checkpoint.keys():
        raise RunError(
            f"{path}: cannot be gone on from, it has no {', '.join(sorted(missing))}; name a last.ckpt of `fit`"
        )
    if not checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]:
        raise UsageError(
            f"{path}: its last epoch was cut short (trainer.max_steps or max_time), and only whole epochs can be gone "
            "on from; train again with trainer.max_epochs alone"
        )
    if trainer.max_steps != -1:
        raise UsageError(
            f"trainer.max_steps must be left out to go on from {path}, got {trainer.max_steps}: a run goes on by whole "
            "epochs; say trainer.max_epochs"
        )
    before = checkpoint[RECIPE]
    changed = [name for name in sorted({*before, *recipe}) if before.get(name) != recipe.get(name)]
    if changed:
        values = ", ".join(f"{name} must be {before.get(name)}, got {recipe.get(name)}" for name in changed[:3])
        reason = (
            "a one-cycle schedule can be neither lengthened nor shortened"
            if any(name.startswith("trainer.") for name in changed)
            else "a run ends with what it began with"
        )
        raise UsageError(f"{values} to go on from {path}: {reason}; leave --ckpt_path out to train from the start")
    if len(checkpoint[RANDOM]) != trainer.world_size:
        raise UsageError(
            f"trainer.devices x num_nodes must be {len(checkpoint[RANDOM])} to go on from {path}, "
            f"got {trainer.world_size}: a run ends with as many processes as it began with"
        )
    done = checkpoint["epoch"] + 1
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < done:
        raise UsageError(f"trainer.max_epochs must be {done} or more to go on from {path}, got {trainer.max_epochs}")


def finished(checkpoint: dict[str, Any], trainer: Trainer) -> str | None:
    """Give the line that says that nothing is left to train, and how to go on; None if something is."""
    done = checkpoint["epoch"] + 1
    if trainer.max_epochs != done:
        return None
    onecycle = "trainer.max_epochs" in checkpoint[RECIPE]
    how = "a one-cycle schedule cannot be lengthened" if onecycle else f"to go on: --trainer.max_epochs {2 * done}"
    return f"finished     all {done} epochs are trained; {how}"


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat = []
    for name, value in tree.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def _random_state() -> dict[str, Any]:
    # plain values and tensors: a checkpoint is read with weights_only
    _, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
