"""Whether a run can be resumed exactly: with the recipe that it began with, from the end of an epoch."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from lenet_lightning.errors import RunError, UsageError, one_line
from lenet_lightning.training.callbacks.exact_resume import DEVICE, RANDOM, RECIPE, WHOLE

# of what a seed and a config train, and of the names of settings: 2 since orders come from SeedSequence and one cycle
# leaves the betas alone, 3 since averaging is a callback, 5 since layers of a step are one convolution
VERSION = 5

# where the data are is no part of what is trained
PLACES = ("data.root", "data.mirrors")

# what the number of steps follows from: one cycle, a distortion that weakens and FrozenFirstLayer are made for it
LENGTH = ("max_epochs", "max_steps")
MADE_FOR_IT = "one cycle, a distortion that weakens and a layer that is frozen"

# what else of the trainer the weights, or the choice of the best ones, depend on
STEADY = (
    "limit_train_batches",
    "overfit_batches",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "limit_val_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
    "reload_dataloaders_every_n_epochs",
    "sync_batchnorm",
    "deterministic",
    "benchmark",
)
# the same as leaving them out
USUAL = {
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "val_check_interval": 1.0,
    "gradient_clip_val": 0.0,
    "gradient_clip_algorithm": "norm",
    "precision": "32-true",
    "deterministic": False,
    "benchmark": False,
}

# these change neither weights nor which of them are kept
PASSIVE = (
    "DeviceStatsMonitor",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
    "ThroughputMonitor",
)


def recipe_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what must stay equal from a run's first epoch to its last: dotted names of `config` and plain values."""
    trainer = config["trainer"]
    fixed = {part: config[part] for part in ("seed_everything", "model", "averaging", "data")} | {"version": VERSION}
    fixed["trainer"] = {name: USUAL.get(name) if trainer[name] is None else trainer[name] for name in STEADY}
    fixed["trainer"]["gradient_clip_val"] = float(fixed["trainer"]["gradient_clip_val"])
    callbacks = trainer["callbacks"] or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    active = [each for each in callbacks if each["class_path"].rsplit(".", 1)[-1] not in PASSIVE]
    strengths = dict(config["data"]["distortion"])
    end = strengths.pop("end", 1.0)
    weakens = end != 1 and any(strengths.values())
    # noted only where it means something: earlier versions did not know it
    fixed["data"] = config["data"] | {"distortion": strengths | ({"end": end} if weakens else {})}
    freezes = any(each["class_path"].endswith(".FrozenFirstLayer") for each in active)
    if config["model"].get("schedule") == "onecycle" or weakens or freezes:
        fixed["trainer"] |= {name: trainer[name] for name in LENGTH}
    # as text: a value to compare, not settings to take apart
    fixed["trainer"]["callbacks"] = json.dumps(active, sort_keys=True)
    return {name: value for name, value in _flat(fixed) if name not in PLACES}


def check(checkpoint: dict[str, Any], path: Path, recipe: dict[str, Any], trainer: Trainer) -> None:
    """Refuse to resume from a checkpoint where that could not be exact.

    Args:
        checkpoint: what `path` holds.
        path: its file, to be named.
        recipe: of the run that is to be resumed.
        trainer: that is to train it.

    Raises:
        RunError: the checkpoint has no training state, or a damaged one.
        UsageError: it was written within an epoch; the run is to be resumed with another recipe, other processes,
            another kind of device, up to an epoch that is behind it, or with trainer.max_steps.
    """
    if (
        missing := {"loops", "callbacks", "optimizer_states", "lr_schedulers", RECIPE, RANDOM, WHOLE}
        - checkpoint.keys()
    ):
        raise RunError(
            f"{path}: cannot be resumed from, it has no {', '.join(sorted(missing))}; pass a last.ckpt of `fit`"
        )
    before, states = checkpoint[RECIPE], checkpoint[RANDOM]
    try:
        damaged = not (isinstance(before, dict) and states and all(each["torch"] is not None for each in states))
    except (TypeError, KeyError, IndexError):
        damaged = True
    if damaged:
        raise RunError(f"{path}: its training state is damaged; pass another last.ckpt of `fit`")
    if not checkpoint[WHOLE]:
        raise UsageError(
            f"{path}: its last epoch was cut short (trainer.max_steps or max_time), and only whole epochs can "
            "be resumed from; train again with trainer.max_epochs alone"
        )
    if trainer.max_steps != -1:
        raise UsageError(
            f"trainer.max_steps must be left out to resume from {path}, got {trainer.max_steps}: a run is resumed by "
            "whole epochs; pass trainer.max_epochs"
        )
    check_version(checkpoint, path)
    changed = changes(before, recipe)
    if changed:
        values = ", ".join(
            f"{one_line(name, 80)} must be {one_line(before.get(name), 80)}, got {one_line(recipe.get(name), 80)}"
            for name in changed[:3]
        )
        fixed = "trainer.max_epochs" in before and any(name.removeprefix("trainer.") in LENGTH for name in changed)
        reason = f"{MADE_FOR_IT} cannot be lengthened or shortened" if fixed else "a run ends with what it began with"
        raise UsageError(f"{values} to resume from {path}: {reason}; leave --ckpt_path out to train from the start")
    if len(states) != trainer.world_size:
        raise UsageError(
            f"trainer.devices x num_nodes must be {len(states)} to resume from {path}, "
            f"got {trainer.world_size}: a run ends with as many processes as it began with"
        )
    device = trainer.strategy.root_device.type
    if checkpoint.get(DEVICE, device) != device:
        raise UsageError(
            f"trainer.accelerator must be {one_line(checkpoint[DEVICE], 20)} to resume from {path}, got {device}: "
            f"others round differently; leave --ckpt_path out to train from the start"
        )
    done = checkpoint["epoch"] + 1
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < done:
        raise UsageError(f"trainer.max_epochs must be {done} or more to resume from {path}, got {trainer.max_epochs}")


def check_version(checkpoint: dict[str, Any], path: Path) -> None:
    """Refuse to resume a run of an earlier version, whose settings had other names or trained otherwise.

    Raises:
        UsageError: it is one.
    """
    before = checkpoint.get(RECIPE)
    if isinstance(before, dict) and before.get("version") != VERSION:
        raise UsageError(
            f"{path}: was begun by an earlier version, whose settings had other names or trained otherwise; resume "
            "with that version, or leave --ckpt_path out to train from the start; `test` and `predict` take it"
        )


def changes(before: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    """Return the names of the settings in which two recipes differ."""
    return [name for name in sorted({*before, *recipe}) if _differs(name, before, recipe)]


def take_threads(checkpoint: dict[str, Any], rank: int) -> str | None:
    """Use as many threads as the run began with, as they change how sums round; return a line if that is a change.

    Raises:
        RunError: the checkpoint has no sane number.
    """
    threads = checkpoint[RANDOM][rank].get("threads", torch.get_num_threads())
    if type(threads) is not int or not 1 <= threads <= 1024:
        raise RunError(f"threads must be a number from 1 to 1,024 in a checkpoint, got {one_line(threads, 40)}")
    here = torch.get_num_threads()
    if threads == here:
        return None
    torch.set_num_threads(threads)
    return f"threads      {threads}, with which this run began (this process would take {here})"


def is_finished(checkpoint: dict[str, Any], trainer: Trainer) -> bool:
    """Return whether no epoch is left to train."""
    return trainer.max_epochs == checkpoint["epoch"] + 1


def finished_line(checkpoint: dict[str, Any]) -> str:
    """Return a line that reports that all epochs are trained, and how to train more."""
    done = checkpoint["epoch"] + 1
    fixed = "trainer.max_epochs" in checkpoint[RECIPE]
    longer = f"for more: --trainer.max_epochs {2 * done}"
    how = f"{MADE_FOR_IT} cannot be lengthened" if fixed else longer
    return f"finished     all {done} epochs are trained; {how}"


def _differs(name: str, before: dict[str, Any], recipe: dict[str, Any]) -> bool:
    if name.startswith("trainer.") and before.get(name) is None:
        return False  # a checkpoint of an earlier version, which did not note it
    # 1 batch is not 1.0 of them
    return repr(before.get(name)) != repr(recipe.get(name))


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat = []
    for name, value in tree.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat
