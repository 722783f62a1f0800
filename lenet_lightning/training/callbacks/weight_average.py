"""An exponential moving average of the weights: what is validated, tested and kept."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


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

    def __init__(self, decay: float = 0.998) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {decay}")
        self.decay = decay
        super().__init__(use_buffers=False, multi_avg_fn=self._mix)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average, in the precision that the weights will have."""
        super().setup(trainer, pl_module, stage)
        if self._average_model:
            trainer.precision_plugin.convert_module(self._average_model)

    def _mix(self, averages: list[Tensor], weights: list[Tensor], steps: Tensor | int) -> None:
        n = int(steps) + 1  # the first step's weights are taken as they are
        get_ema_multi_avg_fn(min(self.decay, n / (9 + n)))(averages, weights, steps)
