"""What the settings of this project's command line mean: the classifier of today, one of 1989 or 1998, or of rows."""

from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, OpenUnitInterval
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.historical.classifier import HistoricalClassifier, is_sdlm
from lenet_lightning.historical.variants import VariedMNIST
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.zipcode.classifier import RowClassifier
from lenet_lightning.zipcode.datamodule import RowsMNIST

# configs/ is inside of an installed package, and beside the package in a checkout
_INSIDE, _BESIDE = (Path(__file__).parents[level] / "configs" for level in (0, 1))
DEFAULT_CONFIG = (_INSIDE if _INSIDE.is_dir() else _BESIDE) / "default.yaml"


def classifier(
    network: Literal["lenet5", "lenet5_1998", "lenet1", "lenet5_swept"] | nn.Module = "lenet5",
    loss: Literal["cross_entropy", "rbf_map", "rbf_mse"] = "cross_entropy",
    optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.05, fused=True),
    schedule: Literal["constant", "onecycle", "paper"] | LRSchedulerCallable = "onecycle",
    schedule_interval: Literal["epoch", "step"] = "epoch",
    warmup: OpenUnitInterval = 0.2,
    label_smoothing: ClosedUnitInterval = 0.0,
    compile: bool = False,
    weights: str | Path | None = None,
) -> DigitClassifier:
    """Return a DigitClassifier, a HistoricalClassifier where a setting is of 1989 or 1998, or a RowClassifier.

    Args:
        network: `lenet5` (the tutorial's), `lenet5_1998`, `lenet1`, or the import path of a module of your own, with
            its own settings (`network.width`): images (N, 1, 28, 28) to logits (N, 10). `lenet5_swept` reads rows of
            digits (`data.rows`), by the forward criterion: its `loss` is that of connectionist classification.
        loss: `cross_entropy` (nats); for the historical networks also the paper's `rbf_map` and `rbf_mse`.
        optimizer: any torch.optim optimizer but LBFGS, Muon and SparseAdam: `SGD`, `AdamW`, ... with its own settings
            (`optimizer.lr`); for the historical networks also `lenet_lightning.historical.sdlm.SDLM`, which takes a
            batch sample by sample.
        schedule: `constant`; `onecycle`: the rate rises to the optimizer's lr and falls to zero at the last step;
            `paper`: epochs 3, 6, 9 and 13 lower it to 2/5, 1/5, 1/10 and 1/50 of the optimizer's lr; none changes
            momentum or betas; or any of torch.optim.lr_scheduler with its own settings (`schedule.step_size`), or
            lightning.pytorch.cli.ReduceLROnPlateau with its `monitor`.
        schedule_interval: whether one of torch's schedules moves after each epoch or each step.
        warmup: fraction of the steps in which onecycle rises.
        label_smoothing: probability mass that the target of cross_entropy spreads over all ten digits.
        compile: whether torch.compile makes the step quicker, with SDLM several times; needs a C++ compiler and half a
            minute.
        weights: a .safetensors, .pth or .ckpt file of this network, from whose weights a run begins, with an optimizer,
            a schedule and averaging of its own; `~` is replaced. Unless given, they are random.
    """
    if network == "lenet5_swept":
        for name, only, got in (("loss", "cross_entropy", loss), ("label_smoothing", 0, label_smoothing)):
            if got != only:
                raise ValueError(f"model.{name} must be {only} with model.network lenet5_swept, got {got}")
        if schedule == "paper":
            raise ValueError("model.schedule must be constant, onecycle or torch's with lenet5_swept, got paper")
        return RowClassifier(optimizer, schedule, schedule_interval, warmup, compile, weights)
    today = network not in ("lenet5_1998", "lenet1") and loss == "cross_entropy" and not is_sdlm(optimizer)
    others = (schedule_interval, warmup, label_smoothing, compile, weights)
    if today and schedule != "paper":
        return DigitClassifier(network, optimizer, schedule, *others)
    return HistoricalClassifier(network, loss, optimizer, schedule, *others)


def mnist(
    variants: NonNegativeInt = 0, rows: NonNegativeInt = 0, styles: Literal["all", "neat"] = "all", **kwargs: Any
) -> MNISTDataModule:
    """Return an MNISTDataModule, one with a fixed number of distorted variants of each sample, or one of rows.

    Args:
        variants: how many distorted variants each training digit has, fixed and shown in turn with the digit itself;
            0 for a new one each time and the digit itself never.
        rows: how many rows of training digits are made for an epoch, new ones for each; 0 for single digits.
        styles: of rows: `all` that should be read, or mostly `neat` ones.
        kwargs: as of MNISTDataModule.
    """
    if rows and variants:
        raise ValueError(f"data.variants must be 0 with data.rows, got {variants}")
    if rows:
        return RowsMNIST(rows=rows, styles=styles, **kwargs)
    if variants:
        return VariedMNIST(variants=variants, **kwargs)
    return MNISTDataModule(**kwargs)
