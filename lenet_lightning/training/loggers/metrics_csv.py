"""metrics.csv: a run's metrics, one row per epoch."""

import csv
import io
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, one_line, printable
from lenet_lightning.training import runs

NAME = "metrics.csv"
MOST_BYTES = 2**26

# columns that hold numbers; others are a person's own
NUMBERS = ("epoch", "step", "lr", "train/", "val/", "test/", "time/")


class MetricsCSV(Logger):
    """Write metrics.csv, whole after every epoch, epochs numbered from 1.

    Lightning's CSVLogger gives validation a row of its own and deletes the file when a run is resumed. Here what is
    logged of one epoch is one row, the test's metrics stand in the last, and a resumed run replaces the rows of the
    epochs that it repeats. A file that a spreadsheet saved is read; one that is damaged is renamed, and what can be
    read of it is kept.

    Args:
        save_dir: folder of the file; the command line sets it to the run's.
    """

    def __init__(self, save_dir: str = ".") -> None:
        super().__init__()
        self._save_dir = save_dir
        self._rows: dict[int, dict[str, Any]] = {}
        self._read = False
        self._logged = False

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
    def save(self) -> None:
        """Read the file that is there; Lightning calls this before it trains.

        Raises:
            RunError: the file is damaged and cannot be renamed.
        """
        if self._read:
            return
        self._read = True
        path = Path(self._save_dir) / NAME
        rows, fault = read_rows(path)
        self._rows = {int(row["epoch"]): row for row in rows}
        if not fault:
            return
        try:
            aside = runs.set_aside(path)
        except OSError as error:
            raise RunError(f"{printable(path)}: {fault}, and cannot be renamed: {error.strerror}") from error
        if rows:
            self._write()
        runs.warn(f"{printable(path)}: {fault}; it is now {aside.name}, {len(rows)} of its rows were read")

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add `metrics`, which name their `epoch`, to that epoch's row.

        Raises:
            RunError: the folder was removed or moved.
        """
        self.save()
        epoch = int(metrics["epoch"])
        if not self._logged and not all(name.startswith(("epoch", "test/")) for name in metrics):
            self._rows = {number: row for number, row in self._rows.items() if number < epoch}
        self._logged = True
        self._rows.setdefault(epoch, {}).update(
            {"epoch": epoch, "step": step} | {k: v for k, v in metrics.items() if k != "epoch"}
        )
        self._write()

    def _write(self) -> None:
        runs.check_there(Path(self._save_dir))
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        with replacing(Path(self._save_dir) / NAME) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows.values())


def read_rows(path: Path) -> tuple[list[dict[str, str]], str]:
    """Return the rows of a metrics.csv that can be read, by epoch, and what is wrong with the file ("": nothing).

    A file that a spreadsheet saved is read, too: with a byte order mark, `;` or tabs, decimal commas, 1.0 for 1. A file
    that is not there has no rows.
    """
    try:
        if not path.exists():
            return [], ""
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return [], "must be a file of at most 64 MB"
        raw = path.read_bytes()
    except OSError as error:
        return [], f"cannot be read ({error.strerror})"
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = raw.decode(encoding, errors="replace")
    header = text.partition("\n")[0]
    table = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    rows, fault = {}, ""
    try:
        columns = [name.strip() for name in next(table, [])]
        if "epoch" not in columns:
            return [], "must begin with a row of column names, `epoch` among them"
        for cells in table:
            if not any(cells):
                continue
            cut = table.line_num == text.count("\n") + 1  # a whole line ends with a line break
            row = None if cut else _numbers(dict(zip_longest(columns, cells[: len(columns)], fillvalue="")))
            if row is None or row["epoch"] in rows:
                fault = fault or f"line {table.line_num} must be whole, with numbers, and with an epoch of its own"
            else:
                rows[row["epoch"]] = row
    except csv.Error as error:
        fault = f"is damaged ({one_line(error)})"
    return sorted(rows.values(), key=lambda row: int(row["epoch"])), fault


def _numbers(row: dict[str, str]) -> dict[str, str] | None:
    """Return a row as it is written here; None if a number in it is none."""
    row = {name: cell.replace(",", ".") if name.startswith(NUMBERS) else cell for name, cell in row.items() if name}
    try:
        for name, cell in row.items():
            if name == "epoch" or (name == "step" and cell):
                if (number := float(cell)) != int(number) or number < (name == "epoch"):
                    return None
                row[name] = str(int(number))
            elif cell and name.startswith(NUMBERS):
                float(cell)
    except (ValueError, OverflowError):
        return None
    return row
