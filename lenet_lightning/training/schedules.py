"""Learning-rate schedules, as Lightning takes them."""

import math
from typing import Any

from lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from lenet_lightning.errors import UsageError


def check(schedule: Any, interval: str) -> None:
    """Check the arguments of DigitClassifier that choose a schedule.

    Raises:
        ValueError: one is none of those that it can be.
    """
    if schedule not in ("constant", "onecycle") and not callable(schedule):
        raise ValueError(f"schedule must be constant, onecycle or a function of the optimizer, got {schedule}")
    if interval not in ("epoch", "step"):
        raise ValueError(f"schedule_interval must be epoch or step, got {interval}")


def beside(optimizer: Optimizer, schedule: Any, interval: str, warmup: float, trainer: Trainer) -> Any:
    """Return an optimizer and the schedule that DigitClassifier's arguments choose, as `configure_optimizers` does.

    Raises:
        UsageError: as `onecycle`.
    """
    if schedule == "constant":
        return optimizer
    if schedule == "onecycle":
        return [optimizer], [onecycle(optimizer, warmup, trainer)]
    return [optimizer], [of_torch(schedule(optimizer), interval, trainer)]


def onecycle(optimizer: Optimizer, warmup: float, trainer: Trainer) -> dict[str, Any]:
    """Return the schedule that rises to the optimizer's rate and falls to zero at the trainer's last step.

    Args:
        optimizer: its momentum and betas stay as they are.
        warmup: fraction of the steps in which it rises.
        trainer: that knows the number of steps.

    Raises:
        UsageError: there is no last step: neither max_epochs nor max_steps is set.
    """
    if math.isinf(trainer.estimated_stepping_batches):
        raise UsageError(
            "trainer.max_epochs or max_steps must be set with model.schedule onecycle, got neither: it ends at the "
            "last step"
        )
    steps = max(2, int(trainer.estimated_stepping_batches))  # a single step would be the last one, at zero
    rates = [group["lr"] for group in optimizer.param_groups]
    # of a rise in 1 step, torch divides by zero
    rise = warmup if warmup * steps > 1 else 0.0
    return {"scheduler": OneCycleLR(optimizer, rates, steps, pct_start=rise, cycle_momentum=False), "interval": "step"}


def of_torch(scheduler: Any, interval: str, trainer: Trainer) -> dict[str, Any]:
    """Return one of torch's schedules, which moves after each `epoch` or `step`, or where its `monitor` is known."""
    if not hasattr(scheduler, "monitor"):
        return {"scheduler": scheduler, "interval": interval}
    assert trainer.estimated_stepping_batches  # reads the data, which `num_training_batches` needs
    # after the validation at the last step, as at an epoch's end it would move after the checkpoint
    last = {"interval": "step", "frequency": int(trainer.num_training_batches)}
    return {"scheduler": scheduler, "monitor": scheduler.monitor, "strict": False} | last
