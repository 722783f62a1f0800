"""metrics.csv: a run's figures, one row per epoch."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning.atomic import replacing


class MetricsCSV(Logger):
    """Write metrics.csv, whole after every epoch, epochs numbered from 1.

    Lightning's CSVLogger gives validation a row of its own and deletes the file when a run is resumed. Here what is
    logged of one epoch is one row, the test's figures stand in the last, and a resumed run replaces the rows of the
    epochs that it repeats.

    Args:
        save_dir: folder of the file; the command line sets it to the run's.
    """

    def __init__(self, save_dir: str = ".") -> None:
        super().__init__()
        self._save_dir = save_dir
        self._rows: dict[int, dict[str, Any]] | None = None

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
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
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add `metrics`, which name their `epoch`, to that epoch's row."""
        epoch = int(metrics["epoch"])
        path = Path(self._save_dir) / "metrics.csv"
        if self._rows is None:
            earlier = csv.DictReader(path.read_text().splitlines()) if path.exists() else []
            self._rows = {int(row["epoch"]): row for row in earlier if int(row["epoch"]) < epoch}
        self._rows.setdefault(epoch, {}).update(
            {"epoch": epoch, "step": step} | {k: v for k, v in metrics.items() if k != "epoch"}
        )
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows.values())
