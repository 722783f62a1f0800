"""What a command refuses before anything is fetched or written: Lightning would find it late, or not at all."""

import math
import os
import shutil
import sys
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Timer
from torch.optim import LBFGS, SparseAdam

from lenet_lightning.data.datamodule import EVAL_BATCH_SIZE, MNISTDataModule
from lenet_lightning.data.files import TEST_SIZE, TRAIN_SIZE
from lenet_lightning.errors import UsageError, one_line
from lenet_lightning.training.classifier import DigitClassifier

UNSUITABLE = {
    LBFGS: "sees a batch many times in a step: here each sample counts once",
    SparseAdam: "takes sparse gradients alone",
}

# of the trainer's numbers, those whose bounds Lightning does not check
LEAST = {
    "gradient_clip_val": 0,
    "accumulate_grad_batches": 1,
    "log_every_n_steps": 0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
}
ABOVE_ZERO = ("val_check_interval", "limit_train_batches", "max_steps")

# rank and number of processes, as torchrun, srun, jsrun and mpirun set them
LAUNCHED = (
    ("RANK", "WORLD_SIZE"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)

KUBERNETES = ", or, where Kubernetes set them, pass --trainer.plugins KubeflowEnvironment"


def check_settings(command: str, config: Any) -> None:
    """Refuse settings of `fit`, `validate` or `test` that cannot work.

    Raises:
        UsageError: there is one.
    """
    trainer, model = config.trainer, config.model
    check_devices(trainer)
    if command == "fit":
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
        check_callbacks([each.class_path for each in callbacks if each], config.averaging)
        check_numbers(trainer)
        check_end(trainer, model.get("schedule"))
        if model.get("compile"):
            check_compiler()
    if command == "validate" and not config.data.val_size:
        raise UsageError("data.val_size is 0: this run validates on no samples; `test` has its test accuracy")


def check_training(trainer: Trainer, model: DigitClassifier, data: MNISTDataModule) -> None:
    """Refuse what only the finished objects show.

    Raises:
        UsageError: there is something.
    """
    model.check_trainer(trainer)
    check_optimizer(trainer, model)
    check_time(trainer)
    check_batches(trainer, data)


def check_numbers(trainer: Any) -> None:
    """Refuse numbers of a configuration of the trainer that Lightning takes though they are senseless.

    Raises:
        UsageError: one is too small, or is not finite.
    """
    for name, least in LEAST.items():
        value = trainer[name]
        if isinstance(value, int | float) and not least <= value < math.inf:
            raise UsageError(f"trainer.{name} must be a finite number of {least} or more, got {value}")
    for name in ABOVE_ZERO:
        if trainer[name] == 0:
            raise UsageError(f"trainer.{name} must be above 0, got {trainer[name]}; leave it out for the default")
    shortest, longest = trainer.min_epochs, trainer.max_epochs
    if shortest and longest and 0 < longest < shortest:
        raise UsageError(f"trainer.min_epochs must be at most trainer.max_epochs, {longest}, got {shortest}")


def check_end(trainer: Any, schedule: str) -> None:
    """Refuse a configuration of the trainer that never ends, or whose end a one-cycle schedule cannot know.

    Raises:
        UsageError: it is one.
    """
    epochs = trainer.max_epochs
    ends_otherwise = trainer.max_steps > 0 or trainer.max_time or trainer.fast_dev_run
    if (epochs is None or epochs == -1) and not ends_otherwise:
        raise UsageError(
            f"trainer.max_epochs must be 1 or more, got {epochs}: nothing else ends this run; pass a number, or "
            "trainer.max_steps or trainer.max_time"
        )
    if schedule == "onecycle" and epochs in (None, -1) and trainer.max_steps < 1 and not trainer.fast_dev_run:
        raise UsageError(
            f"trainer.max_epochs must be 1 or more with model.schedule onecycle, got {epochs}: the rate is zero at the "
            "last step, which must be known; pass a number, or trainer.max_steps"
        )
    if epochs is not None and epochs != -1 and epochs < 1:
        raise UsageError(f"trainer.max_epochs must be 1 or more, got {epochs}")


def check_devices(trainer: Any) -> None:
    """Refuse a configuration of the trainer with devices that this machine does not have.

    Raises:
        UsageError: it has an accelerator that is not there, or more processes than cores.
    """
    devices, cores = str(trainer.devices), os.cpu_count() or 1
    if trainer.accelerator in ("gpu", "cuda", "mps") and not torch.accelerator.is_available():
        raise UsageError(
            f"trainer.accelerator must be one this machine has, got {trainer.accelerator}; use cpu or auto"
        )
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and devices.isdecimal() and int(devices) > cores:
        # Lightning would start that many processes and take the machine down
        raise UsageError(f"trainer.devices must be at most the {cores} cores of this machine on a CPU, got {devices}")
    if trainer.strategy in ("ddp_spawn", "ddp_fork", "ddp_notebook"):
        raise UsageError(
            f"trainer.strategy must be auto or ddp for several processes, got {trainer.strategy}: open files of a run "
            "cannot be passed on to its processes"
        )


def check_callbacks(class_paths: list[str], averaging: float) -> None:
    """Refuse callbacks whose work would be lost, or would make a run that cannot be repeated.

    Raises:
        UsageError: there is one.
    """
    for kind in (path.rpartition(".")[2] for path in class_paths):
        name = f"trainer.callbacks: {kind}"
        if kind == "StochasticWeightAveraging":
            raise UsageError(
                f"{name} keeps its average in no checkpoint, so it would be neither tested nor kept; --averaging 0.998 "
                "averages what is validated, tested and kept"
            )
        if kind in ("WeightAveraging", "EMAWeightAveraging") and averaging:
            raise UsageError(f"{name} and averaging {averaging:g} are two averages of one run; pass --averaging 0")
        if kind in ("LearningRateFinder", "BatchSizeFinder"):
            raise UsageError(
                f"{name} changes settings after they were recorded, so the run could be neither repeated nor resumed; "
                "pass model.optimizer.lr and data.batch_size, or search for them with configs/sweep.yaml"
            )


def check_compiler() -> None:
    """Refuse to compile without a C++ compiler.

    Raises:
        UsageError: there is none.
    """
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if not shutil.which(compiler):
        raise UsageError(
            f"model.compile: needs a C++ compiler ({compiler}, or what CXX names), found none; install one, or pass "
            "--model.compile false"
        )


def check_launched(trainer: Trainer) -> None:
    """Refuse to be one process of a launcher's many and not to know it: each would train everything, or wait for ever.

    Raises:
        UsageError: the environment names another rank or number of processes than the trainer.
    """
    alone = trainer.world_size == 1
    for rank, size in LAUNCHED:
        number, many = os.environ.get(rank, ""), os.environ.get(size, "")
        launched = f"({rank}={number or 'unset'}, {size}={many or 'unset'})"
        if alone and any(each.isdecimal() and int(each) > least for each, least in ((number, 0), (many, 1))):
            raise UsageError(
                f"trainer.devices x num_nodes must be the number of processes that were launched {launched}, got 1; "
                "pass --trainer.devices with those of one machine and --trainer.num_nodes, or unset these variables"
                f"{KUBERNETES}"
            )
        if rank == "RANK" and number.isdecimal() and int(number) != trainer.global_rank:
            raise UsageError(
                f"trainer.plugins must have what knows the processes that were launched {launched}, the trainer takes "
                f"this one for {trainer.global_rank} of {trainer.world_size}; unset these variables{KUBERNETES}"
            )


def check_optimizer(trainer: Trainer, model: DigitClassifier) -> None:
    """Refuse an optimizer that cannot be built with its settings, or cannot train here.

    Raises:
        UsageError: it is one.
    """
    try:
        optimizer = model.optimizer(model.network.parameters())
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"model.optimizer: {one_line(error)}") from error
    for group in optimizer.param_groups:
        for name, value in group.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"model.optimizer: {name} must be finite, got {value}")
    for kind, reason in UNSUITABLE.items():
        if isinstance(optimizer, kind):
            raise UsageError(f"model.optimizer: must be another one than {kind.__name__}, which {reason}")
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    if fused and trainer.gradient_clip_val and "mixed" in str(trainer.precision):
        raise UsageError(
            f"trainer.gradient_clip_val must be null with a fused optimizer in {trainer.precision}, got "
            f"{trainer.gradient_clip_val}; pass --model.optimizer.fused false"
        )


def check_time(trainer: Trainer) -> None:
    """Refuse a training that has no time at all.

    Raises:
        UsageError: it is one.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    for timer in callbacks:
        if isinstance(timer, Timer) and (seconds := timer.time_remaining()) is not None and seconds <= 0:
            raise UsageError(f"trainer.max_time must be above 0, got {seconds:g} s; leave it out for no limit")


def check_batches(trainer: Trainer, data: MNISTDataModule) -> None:
    """Refuse a fraction of the batches that is less than one.

    Raises:
        UsageError: it is.
    """
    samples = {"train": TRAIN_SIZE - data.val_size, "val": data.val_size, "test": TEST_SIZE}
    for stage, count in samples.items():
        limit = getattr(trainer, f"limit_{stage}_batches")
        batches = -(-count // trainer.world_size // (data.batch_size if stage == "train" else EVAL_BATCH_SIZE))
        if isinstance(limit, float) and batches and 0 < limit * batches < 1:
            overfitted = stage != "test" and trainer.overfit_batches > 0  # type: ignore[attr-defined]  # Lightning's sets it
            name = "overfit_batches" if overfitted else f"limit_{stage}_batches"
            raise UsageError(
                f"trainer.{name} must be 1 or more batches, got {limit:g} of {batches} {stage} batches; pass a "
                "larger fraction or a number of batches"
            )
