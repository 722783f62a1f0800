"""The callbacks of DigitClassifier's fit in any Trainer."""

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging, WeightAveraging

from lenet_lightning.training.callbacks.epoch_metrics import EpochMetrics
from lenet_lightning.training.callbacks.kernel import of_kernel
from lenet_lightning.training.callbacks.weight_average import WeightAverage

AVERAGES = (WeightAveraging, StochasticWeightAveraging)


def of_fit(trainer: Trainer, averaging: float) -> list[Callback]:
    """Return what logs the metrics and, with a decay above 0, averages the weights, unless the trainer has what does.

    In a notebook's kernel, also what `of_kernel` returns.
    """
    users: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    callbacks: list[Callback] = [EpochMetrics()]
    if averaging and not any(isinstance(each, AVERAGES) for each in users):
        callbacks.append(WeightAverage(averaging))
    return [*callbacks, *of_kernel(trainer)]
