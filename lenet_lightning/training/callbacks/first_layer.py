"""Training the first layer for a part of the steps only, as it learns first and costs most."""

from math import inf
from typing import Any

from jsonargparse.typing import ClosedUnitInterval
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from lenet_lightning.restricted import checked


class FrozenFirstLayer(Callback):
    """Freeze the network's first layer after a fraction of a training's steps: later steps need no gradient of it.

    Lower layers reach their final form first: Raghu et al. 2017, "SVCCA", freeze them one by one ("freeze training").
    What is frozen depends on the step alone, so a resumed run continues as it would have. Several processes train all
    layers to the end, as they wait for the gradient of each.

    Args:
        after: fraction of the steps, 0 to 1, in which the first layer is trained.

    Raises:
        ValueError: `after` is out of range.
    """

    def __init__(self, after: ClosedUnitInterval) -> None:
        self._after: float = checked(ClosedUnitInterval, "after", after)
        self._frozen: list[nn.Parameter] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layer, and the step after which it is frozen."""
        own = [list(module.parameters(recurse=False)) for module in pl_module.modules()]
        first, *others = [[p for p in layer if p.requires_grad] for layer in own if layer] or [[]]
        # a network of a single layer would have nothing to learn with
        self._first = first if trainer.world_size == 1 and any(others) else []
        steps = trainer.estimated_stepping_batches
        self._last = self._after * steps if self._first else inf

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Freeze it when its steps are done."""
        if not self._frozen and trainer.global_step >= self._last:
            self._frozen = self._first
            for parameter in self._frozen:
                parameter.requires_grad_(False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the layer as it was: another training may follow."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
