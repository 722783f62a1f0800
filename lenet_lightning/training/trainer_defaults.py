"""What the Trainer of a command has unless it is told otherwise."""

from typing import Any

LOGGERS = ("metrics_csv.MetricsCSV", "wandb.WandbLogger")
TRAINER_DEFAULTS: dict[str, Any] = {
    "default_root_dir": "runs",
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "logger": [{"class_path": f"lenet_lightning.training.loggers.{name}"} for name in LOGGERS],
}


def leave_defaults_out(trainer: Any) -> None:
    """Let the settings `trainer` have none of these, nor a progress bar: `barebones` allows none."""
    trainer.logger = trainer.enable_checkpointing = trainer.enable_progress_bar = False
    trainer.enable_model_summary = trainer.num_sanity_val_steps = None
