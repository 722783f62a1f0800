"""A table of numbers in a CSV file, written whole; it may come back from a spreadsheet; a damaged one is renamed."""

import csv
import io
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, one_line, printable
from lenet_lightning.training import runs

MOST_BYTES = 2**26

# columns that hold numbers; others are a person's own
NUMBERS = ("epoch", "step", "lr", "train/", "val/", "test/", "time/")


class Table:
    """The rows of a file, by a whole number in each; a file that is damaged is renamed, what can be read of it is kept.

    Args:
        path: of the file.
        key: the column of the number: `epoch` or `step`.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._rows: dict[int, dict[str, Any]] | None = None

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows, read from the file at the first call.

        Raises:
            RunError: the file is damaged and cannot be renamed.
        """
        if self._rows is None:
            read, fault = read_rows(self._path, self._key)
            self._rows = {int(row[self._key]): row for row in read}
            if fault:
                self._set_aside(fault)
        return self._rows

    def _set_aside(self, fault: str) -> None:
        try:
            aside = runs.set_aside(self._path)
        except OSError as error:
            raise RunError(f"{printable(self._path)}: {fault}, and cannot be renamed: {error.strerror}") from error
        if kept := self.rows():
            self.write()
        runs.warn(f"{printable(self._path)}: {fault}; it is now {aside.name}, {len(kept)} of its rows were read")

    def drop_from(self, number: int) -> None:
        """Drop the rows from `number` on, which a resumed run repeats."""
        self._rows = {each: row for each, row in self.rows().items() if each < number}

    def update(self, number: int, values: dict[str, Any]) -> None:
        """Add values to a row, which is made if there is none."""
        self.rows().setdefault(number, {}).update({self._key: number} | values)

    def write(self) -> None:
        """Write the file.

        Raises:
            RunError: its folder was removed or moved.
        """
        runs.check_there(self._path.parent)
        rows = self.rows().values()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(self._path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


def read_rows(path: Path, key: str = "epoch") -> tuple[list[dict[str, str]], str]:
    """Return the rows of a file that can be read, by their number, and what is wrong with the file ("": nothing).

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
        if key not in columns:
            return [], f"must begin with a row of column names, `{key}` among them"
        for cells in table:
            if not any(cells):
                continue
            cut = table.line_num == text.count("\n") + 1  # a whole line ends with a line break
            row = None if cut else _numbers(dict(zip_longest(columns, cells[: len(columns)], fillvalue="")), key)
            if row is None or row[key] in rows:
                fault = fault or f"line {table.line_num} must be whole, with numbers, and with an {key} of its own"
            else:
                rows[row[key]] = row
    except csv.Error as error:
        fault = f"is damaged ({one_line(error)})"
    return sorted(rows.values(), key=lambda row: int(row[key])), fault


def _numbers(row: dict[str, str], key: str) -> dict[str, str] | None:
    """Return a row as it is written here; None if a number in it is none."""
    row = {name: cell.replace(",", ".") if name.startswith(NUMBERS) else cell for name, cell in row.items() if name}
    try:
        for name, cell in row.items():
            if name == key or (name == "step" and cell):
                if (number := float(cell)) != int(number) or number < (name == "epoch"):
                    return None
                row[name] = str(int(number))
            elif cell and name.startswith(NUMBERS):
                float(cell)
    except (ValueError, OverflowError):
        return None
    return row
