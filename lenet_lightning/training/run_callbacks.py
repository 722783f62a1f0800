"""The callbacks of a run that `fit` makes."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.callbacks import Callback

from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.training import checkpoints, results
from lenet_lightning.training.callbacks.exact_resume import ExactResume
from lenet_lightning.training.callbacks.run_start import RunStart
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.environment import environment
from lenet_lightning.training.loggers.wandb import RunId


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
    made_with = environment(data.FILES) | results.metadata(model, data, recipe["seed_everything"])
    settings = yaml.safe_load(config)
    callbacks: list[Callback] = [RunStart(run, config, settings | {"made_with": made_with}), ExactResume(recipe)]
    if settings["trainer"]["enable_checkpointing"] is not False:
        validated = bool(data.val_size and settings["trainer"]["limit_val_batches"] != 0)
        callbacks += [RunId(), *checkpoints.checkpoints(run, validated)]
    return callbacks
