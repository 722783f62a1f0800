"""The final test of a run, and the files that it leaves: weights, results, pictures."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from lenet_lightning import weights
from lenet_lightning.atomic import replacing
from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.metadata import DIGITS
from lenet_lightning.training import runs
from lenet_lightning.training.callbacks.exact_resume import DEVICE, RANDOM, RECIPE
from lenet_lightning.training.callbacks.predictions import Predictions
from lenet_lightning.training.checkpoints import read_checkpoint
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.environment import environment
from lenet_lightning.training.loggers import metrics_csv
from lenet_lightning.training.loggers.metrics_csv import MetricsCSV
from lenet_lightning.training.loggers.table import read_rows
from lenet_lightning.training.loggers.wandb import CHECKPOINT_KEY, WandbLogger

RESULTS, WEIGHTS, PICTURES = "results.json", "weights.safetensors", "pictures"
NAMES = {"validate": ("val", "validation"), "test": ("test", "test")}


def load(model: DigitClassifier, path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint into `model`, and return the checkpoint.

    Raises:
        RunError: it is damaged, or does not fit.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint["state_dict"]
    # before averaging was a callback, the average was a part of the module
    average = {f"network.{name[16:]}": value for name, value in state.items() if name.startswith("averaged.module.")}
    try:
        model.load_state_dict(average or state)
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit this network and config: {one_line(error)}") from error
    return checkpoint


def evaluate(
    trainer: Trainer, model: DigitClassifier, data: MNISTDataModule, command: str, path: Path
) -> tuple[str, dict[str, float]]:
    """Validate or test a checkpoint; return the line to print and, if every sample was counted, the metrics.

    Raises:
        UsageError: no batch is to be evaluated.
        RunError: the checkpoint is damaged, does not fit, or other weights than its were counted.
    """
    stage, name = NAMES[command]
    if getattr(trainer, f"limit_{stage}_batches") == 0:
        raise UsageError(f"trainer.limit_{stage}_batches must be above 0 to {command}, got 0; leave it out for all")
    load(model, path)
    loggers, trainer.loggers = trainer.loggers, []  # `keep` logs what was counted whole, beside the right epoch
    loaded = copy.deepcopy(model.state_dict())
    getattr(trainer, command)(model, datamodule=data, verbose=False)
    trainer.loggers = loggers
    if not all(torch.equal(value.cpu(), loaded[name].cpu()) for name, value in model.state_dict().items()):
        raise RunError(
            f"{printable(path)}: its weights must be those that are counted, others were loaded in their place; in a "
            f"Slurm job Lightning takes a hpc_ckpt_*.ckpt in {printable(trainer.default_root_dir)}: remove it"
        )
    samples, batches = len(getattr(data, stage)), getattr(trainer, f"num_{stage}_batches")
    loader = getattr(data, f"{stage}_dataloader")()
    metrics = {each: value.item() for each, value in trainer.callback_metrics.items() if each.startswith(f"{stage}/")}
    acc, loss = metrics[f"{stage}/acc"], metrics[f"{stage}/loss"]
    if batches != [len(loader)]:
        return f"{name} accuracy {acc:.2%}, of {batches[0]} of {len(loader)} batches only: not the {name} accuracy", {}
    counted = f"{round(acc * samples):,} of {samples:,}"
    return f"{name} accuracy {acc:.2%} ({counted}), loss {loss:.4f}, of {printable(path)}", metrics


def metadata(model: DigitClassifier, data: MNISTDataModule, seed: int) -> dict[str, Any]:
    """Return the metadata of the weights that do not depend on when and where they were trained."""
    return {
        "network": model.hparams["network"],
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "classes": list(DIGITS),
        "mean": data.mean,
        "std": data.std,
        "seed": seed,
    }


def keep(
    run: Path,
    kept: Path,
    model: DigitClassifier,
    data: MNISTDataModule,
    metrics: dict[str, float],
    trainer: Trainer,
) -> float:
    """Write the weights of the checkpoint `kept`, which `model` holds, and with test metrics the results, once.

    Returns:
        The seconds that the run was trained.

    Raises:
        OSError: the run's folder cannot be written to, or is full; older files are intact.
    """
    checkpoint, last = read_checkpoint(kept), run / runs.LAST
    ended = read_checkpoint(last) if last.exists() else checkpoint
    known = metadata(model, data, int(ended[RECIPE]["seed_everything"])) | metrics
    weights.write(model.network.state_dict(), known, run / WEIGHTS)
    if not metrics:
        return ended["training_seconds"]
    epochs = ended["epoch"] + 1
    results = known | {
        f"{kept.stem}_epoch": checkpoint["epoch"] + 1,
        "epochs": epochs,
        "train_seconds": round(ended["training_seconds"], 2),
        "processes": len(ended[RANDOM]),
        "device": ended.get(DEVICE, "cpu"),
    }
    for logger in trainer.loggers:
        logger.log_metrics(metrics | {"epoch": float(epochs)}, ended["global_step"] - 1)
    with replacing(run / RESULTS) as partial:
        partial.write_text(json.dumps(results | environment(data.files), indent=2) + "\n")
    predictions = predictions_of(trainer)
    for tracker in trainer.loggers:
        if isinstance(tracker, WandbLogger):
            tracker.log_errors(data.test.images.squeeze(1).numpy(), predictions.labels, predictions.logits)
            tracker.log_files([kept, run / WEIGHTS], known)
            tracker.log_data(data.name, {file.name: file.sha256 for file in data.files})
    return ended["training_seconds"]


def predictions_of(trainer: Trainer) -> Predictions:
    """Return the trainer's callback that has the predictions of its last test."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    return next(each for each in callbacks if isinstance(each, Predictions))


def draw(run: Path, model: DigitClassifier, data: MNISTDataModule, trainer: Trainer) -> list[Path]:
    """Draw the pictures of a run that was tested; return their paths.

    Raises:
        OSError: the run's folder cannot be written to, or is full.
    """
    from lenet_lightning.evaluation import pictures  # matplotlib: half a second that other commands need not wait

    predictions = predictions_of(trainer)
    originals = data.originals.images[:10].float() / 255
    generator = torch.Generator().manual_seed(0)
    material = pictures.Material(
        rows=read_rows(run / metrics_csv.NAME)[0],
        network=copy.deepcopy(model.network).cpu(),
        images=data.test.images,
        normalised=(data.test.images[:1].float() / 255 - data.mean) / data.std,
        labels=predictions.labels,
        logits=predictions.logits,
        originals=originals,
        distorted=[data.distortion(originals, generator) for _ in range(5)] if data.distortion else [],
    )
    return pictures.draw(material, run / PICTURES)


def are_missing(path: Path) -> bool:
    """Return whether the run of a checkpoint is judged by it, and has no results yet."""
    run = path.parent
    judged = runs.BEST if (run / runs.BEST).exists() else runs.LAST
    if path.name != judged or (run / RESULTS).exists() or not (run / "config.yaml").exists():
        return False
    return RECIPE in read_checkpoint(path)


def add(path: Path, model: DigitClassifier, data: MNISTDataModule, metrics: dict[str, float], trainer: Trainer) -> None:
    """Keep the test metrics of a checkpoint in its run, where `are_missing`, and in the run's loggers.

    Raises:
        OSError: the run's folder cannot be written to, or is full.
    """
    run = path.parent
    trainer.loggers = [MetricsCSV(str(run))] if (run / metrics_csv.NAME).exists() else []
    trackers = []
    if run_id := read_checkpoint(path).get(CHECKPOINT_KEY):
        trackers = [WandbLogger(str(run))]
        trackers[0].resume(run_id)
    trainer.loggers = [*trainer.loggers, *trackers]
    keep(run, path, model, data, metrics, trainer)
    for tracker in trackers:
        tracker.close(failed=False)
