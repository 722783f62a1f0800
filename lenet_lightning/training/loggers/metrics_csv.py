"""metrics.csv: a run's metrics, one row per epoch; steps.csv: what was logged of single steps, one row per step."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning.training.loggers.table import Table

NAME, STEPS = "metrics.csv", "steps.csv"


class MetricsCSV(Logger):
    """Write metrics.csv and steps.csv, whole after every epoch, epochs numbered from 1.

    Lightning's CSVLogger gives validation a row of its own and deletes the file when a run is resumed. Here what is
    logged of one epoch is one row, the test's metrics stand in the last, and a resumed run replaces the rows that it
    repeats. A file that a spreadsheet saved is read; one that is damaged is renamed, and what can be read of it is
    kept.

    Args:
        save_dir: folder of the files; the command line sets it to the run's.
    """

    def __init__(self, save_dir: str = ".") -> None:
        super().__init__()
        self._save_dir = save_dir
        self._epochs = Table(Path(save_dir) / NAME, "epoch")
        self._steps = Table(Path(save_dir) / STEPS, "step")
        self._began = {"epoch": False, "step": False}

    @property
    def save_dir(self) -> str:
        """The folder of the files."""
        return self._save_dir

    @property
    def name(self) -> None:
        """No name: the run folder has it."""

    @property
    def version(self) -> None:
        """No version: the run folder has it."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keep none: config.yaml has them."""

    @rank_zero_only
    def save(self) -> None:
        """Read the files that are there; Lightning calls this before it trains.

        Raises:
            RunError: a file is damaged and cannot be renamed.
        """
        self._epochs.rows()
        self._steps.rows()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add metrics to the row of their epoch or, if they are of no whole epoch, of their step.

        Those of an epoch name it by a float, `epoch`, from 1, as EpochMetrics does. Lightning adds an integer from 0 to
        whatever is logged without.

        Raises:
            RunError: the folder was removed or moved.
        """
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if isinstance(epoch := metrics.get("epoch"), float):
            if not self._began["epoch"] and not all(name.startswith("test/") for name in values):
                self._epochs.drop_from(int(epoch))
            self._began["epoch"] = True
            self._epochs.update(int(epoch), {"step": step} | values)
            self._epochs.write()
            if self._began["step"]:
                self._steps.write()
        elif step is not None:
            if not self._began["step"]:
                self._steps.drop_from(step)
            self._began["step"] = True
            self._steps.update(step, values)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what was logged since the last epoch."""
        if self._began["step"]:
            self._steps.write()
