"""Exact resume: a run that was interrupted ends bit for bit as if it had not been."""

import random
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

# keys of a checkpoint; the last one is whether it was written at the end of an epoch
RECIPE, RANDOM, DEVICE, WHOLE = "recipe", "random", "device", "whole_epoch"


class ExactResume(Callback):
    """Keep in each checkpoint what Lightning does not: the states of the global random generators, and the recipe.

    The order of the samples and their distortion need no state: they are functions of seed, epoch and process.

    Args:
        recipe: what must stay equal from a run's first epoch to its last: names and plain values.
    """

    def __init__(self, recipe: dict[str, Any]) -> None:
        self._recipe = recipe
        self._states: list[dict[str, Any]] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the recipe, the kind of device, and the states of each process."""
        states: list[Any] = [_random_state() | {"threads": torch.get_num_threads()}]
        if trainer.world_size > 1:
            (mine,), states = states, [None] * trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint |= {RECIPE: self._recipe, RANDOM: states, DEVICE: trainer.strategy.root_device.type}
        checkpoint[WHOLE] = trainer.is_last_batch

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the states until the training starts."""
        self._states = checkpoint[RANDOM]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the states: what was drawn to set the training up was drawn before the interruption, too."""
        if self._states:
            _set_random_state(self._states[trainer.global_rank])


def _random_state() -> dict[str, Any]:
    # plain values and tensors: a checkpoint is read with weights_only
    _, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
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
