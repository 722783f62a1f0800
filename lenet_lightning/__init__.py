"""LeNet-5 on MNIST in PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet_lightning.data.datamodule import MNISTDataModule
    from lenet_lightning.evaluation import plots
    from lenet_lightning.inference.recognizer import Recognizer
    from lenet_lightning.networks.lenet5 import LeNet5
    from lenet_lightning.training.callbacks.first_layer import FrozenFirstLayer
    from lenet_lightning.training.callbacks.weight_average import WeightAverage
    from lenet_lightning.training.classifier import DigitClassifier

__all__ = ["DigitClassifier", "FrozenFirstLayer", "LeNet5", "MNISTDataModule", "Recognizer", "WeightAverage", "plots"]

# torch and Lightning take seconds to import: `--help` should not wait for them
_HOMES = {
    "DigitClassifier": "training.classifier",
    "FrozenFirstLayer": "training.callbacks.first_layer",
    "LeNet5": "networks.lenet5",
    "MNISTDataModule": "data.datamodule",
    "Recognizer": "inference.recognizer",
    "WeightAverage": "training.callbacks.weight_average",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "plots":  # matplotlib takes half a second
        return import_module(f"{__name__}.evaluation.plots")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
