"""An exponential moving average of the weights: what is validated, tested and kept."""

from jsonargparse.typing import restricted_number_type
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)], docstring="from 0 to below 1")

# that of the recommended recipe, configs/default.yaml
DECAY = 0.998


class WeightAverage(WeightAveraging):
    """Average the weights over the steps; validate, test and keep the average.

    Lightning's EMAWeightAveraging with a decay that rises: at step n it is at most n / (9 + n), so that a short run
    does not end near where it began. A checkpoint's `state_dict` is the average; `current_model_state` has the weights
    that training continues with.

    Args:
        decay: from 0 to below 1; the average is that of some 1 / (1 - decay) steps.

    Raises:
        ValueError: decay is out of range.
    """

    def __init__(self, decay: float = DECAY) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {decay}")
        self.decay = decay
        super().__init__(use_buffers=False, multi_avg_fn=self._mix)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average, in the precision that the weights will have."""
        super().setup(trainer, pl_module, stage)
        if self._average_model:
            trainer.precision_plugin.convert_module(self._average_model)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in the network's place while it is trained; afterwards it may be another network's."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights that training continues with back."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)

    def _mix(self, averages: list[Tensor], weights: list[Tensor], steps: Tensor | int) -> None:
        n = int(steps) + 1  # the first step's weights are taken as they are
        get_ema_multi_avg_fn(min(self.decay, n / (9 + n)))(averages, weights, steps)
