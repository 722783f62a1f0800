"""Hooks that Lightning would call in each step though nothing is in them."""

from collections.abc import Iterable

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy

IN_EACH_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def skip_empty(trainer: Trainer, module: LightningModule) -> None:
    """Let Lightning pass over the hooks of each step that neither callbacks nor the module override.

    Each call of an empty one costs microseconds, with a name made up for the profiler, and there are dozens in a step.
    What cannot be called it skips.
    """
    _skip(trainer.callbacks, Callback)
    _skip([module], LightningModule)
    _skip([trainer.strategy], Strategy)


def _skip(owners: Iterable[object], base: type) -> None:
    for owner in owners:
        for hook in IN_EACH_STEP:
            inherited = getattr(base, hook, None)
            if inherited and getattr(type(owner), hook) is inherited:
                setattr(owner, hook, None)
