"""What Lightning prints that no user of this project needs; other warnings and errors still come through."""

import logging
import warnings

# of Lightning: devices, tips and advertisements; of torch: a compiler of CUDA that is missing on a machine without GPU
LOGGERS = {
    "lightning.pytorch": logging.WARNING,
    "lightning.fabric": logging.WARNING,
    "lightning.pytorch.profilers": logging.INFO,  # a profiler's report
    "torch.utils.cpp_extension": logging.ERROR,
}
WARNINGS = (
    "The `srun` command is available",  # outside of a job; inside one Lightning takes it for used
    "You requested to overfit but enabled",  # shuffling, which --trainer.overfit_batches is to switch off
    "[GT]PU available but not used",  # --trainer.accelerator cpu is the user's wish
    ".*LeafSpec.* is deprecated",  # Lightning's own, on torch 2.15
    "Checkpoint directory .* exists and is not empty",  # it holds config.yaml
    "The '.*_dataloader' does not have many workers",  # samples are in memory: workers would only cost time
    "The number of training batches .* is smaller than the logging interval",  # nothing is logged in steps
    "You called `self.log.*` but have no logger configured",  # --trainer.logger false is the user's wish
    "It is recommended to use `self.log.*sync_dist=True",  # what is logged without is equal in all processes
    "`ModelCheckpoint.*` could not find the monitored key",  # so is --trainer.limit_val_batches 0
    "You are running in `Trainer.barebones=True.` mode",  # as was asked for
    "`Trainer.barebones=True.` started running",
    "You are trying to `self.log.*` but `Trainer.barebones=True.` is configured",
    "Total length of `list` across ranks is zero",  # and --data.val_size 0
)


def quiet_lightning() -> None:
    """Hide them in this process."""
    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)
