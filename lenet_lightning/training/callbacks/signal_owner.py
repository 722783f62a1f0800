"""The signals' owner keeps them while Lightning trains."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lenet_lightning import signals


class SignalOwner(Callback):
    """Take the signals back from Lightning, whose handler lets several processes wait for each other."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them back."""
        signals.reclaim()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them back."""
        signals.reclaim()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them back."""
        signals.reclaim()
