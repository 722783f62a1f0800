"""Which optimizers can be taken, and which a training can go on with."""

from typing import Any

from torch.optim import Optimizer

from lenet_lightning.errors import UsageError

OF_SCHEDULES = {"initial_lr", "max_lr", "min_lr"}


def check(optimizer: Any) -> None:
    """Check the argument of DigitClassifier that makes an optimizer.

    Raises:
        ValueError: it is no function.
    """
    if not callable(optimizer):
        raise ValueError(f"optimizer must be a function of the parameters, got {optimizer!r}")


def check_state(optimizer: Optimizer, checkpoint: dict[str, Any]) -> None:
    """Refuse the state that a checkpoint has of an optimizer of another class.

    Raises:
        UsageError: it is one.
    """
    for state in checkpoint.get("optimizer_states", ()):
        saved, own = state["param_groups"][0].keys() - OF_SCHEDULES, optimizer.param_groups[0].keys()
        if own - saved and saved - own:  # another version of torch adds settings, but takes none away
            raise UsageError(
                f"optimizer must be that of the checkpoint, which has its {', '.join(sorted(saved - own))} but not its "
                f"class, got {type(optimizer).__name__}; pass it: load_from_checkpoint(path, optimizer=...)"
            )
