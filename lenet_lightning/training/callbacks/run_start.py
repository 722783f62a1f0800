"""A run begins to leave traces when its training starts: what is refused before leaves none."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import printable
from lenet_lightning.training import runs


class RunStart(Callback):
    """Write config.yaml, point `latest` at the run, hand the settings to the loggers, and print the first line.

    Args:
        run: the run's folder.
        config: the text of config.yaml.
        settings: what the loggers get.
    """

    def __init__(self, run: Path, config: str, settings: dict[str, Any]) -> None:
        self._run = run
        self._config = config
        self._settings = settings

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        if trainer.is_global_zero:
            with replacing(self._run / "config.yaml") as partial:
                partial.write_text(self._config)
            runs.point_latest(self._run)
            parameters = sum(p.numel() for p in pl_module.parameters())
            where = f"{trainer.strategy.root_device} with {torch.get_num_threads()} threads"
            name = type(getattr(pl_module, "network", pl_module)).__name__
            print(f"{name}, {parameters:,} parameters, on {where}; run {printable(self._run)}", flush=True)
        for logger in trainer.loggers:
            logger.log_hyperparams(self._settings)
