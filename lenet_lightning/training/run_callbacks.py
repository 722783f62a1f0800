"""The callbacks that a command adds to the user's."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar

from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.training import checkpoints, results
from lenet_lightning.training.callbacks.exact_resume import ExactResume
from lenet_lightning.training.callbacks.finite_values import FiniteValues
from lenet_lightning.training.callbacks.predictions import Predictions
from lenet_lightning.training.callbacks.progress import EpochLines
from lenet_lightning.training.callbacks.run_start import RunStart
from lenet_lightning.training.callbacks.signal_owner import SignalOwner
from lenet_lightning.training.callbacks.weight_average import WeightAverage
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.environment import environment
from lenet_lightning.training.loggers.wandb import RunId


def of_command(users: list[Callback], fit: bool, averaging: float, lines: bool, run: list[Callback]) -> list[Callback]:
    """Return the callbacks of a command.

    Args:
        users: those of its config.
        fit: whether it trains.
        averaging: decay of the average of the weights, 0 for none.
        lines: whether a line is printed for each epoch, unless the user has a progress bar.
        run: those of `of_run`.
    """
    callbacks = [*users, SignalOwner(), Predictions()]
    if fit:
        callbacks += [FiniteValues(), *([WeightAverage(float(averaging))] if averaging else []), *run]
    if lines and not any(isinstance(each, ProgressBar) for each in users):
        callbacks.append(EpochLines())
    return callbacks


def keep_in(run: Path, users: list[Callback]) -> None:
    """Let the user's checkpoints without a folder of their own be kept in the run's."""
    for each in users:
        if isinstance(each, ModelCheckpoint) and each.dirpath is None:
            each.dirpath = str(run)


def of_run(
    run: Path, config: str, recipe: dict[str, Any], model: DigitClassifier, data: MNISTDataModule
) -> list[Callback]:
    """Return the callbacks that record, keep and resume a run.

    Args:
        run: the run's folder.
        config: the text of its config.yaml.
        recipe: of `resume.recipe_of`.
        model: to be trained.
        data: to train it on.
    """
    made_with = environment(data.files) | results.metadata(model, data, recipe["seed_everything"])
    settings = yaml.safe_load(config)
    callbacks: list[Callback] = [RunStart(run, config, settings | {"made_with": made_with}), ExactResume(recipe)]
    if settings["trainer"]["enable_checkpointing"] is not False:
        validated = bool(data.val_size and settings["trainer"]["limit_val_batches"] != 0)
        callbacks += [RunId(), *checkpoints.checkpoints(run, validated)]
    return callbacks
