"""Answers as JSON, a line for each picture, and files of such lines, which grow where an earlier reading stopped."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_lightning.errors import RunError, UsageError, printable
from lenet_lightning.inference.rows import Row

_START = b'{"picture": '  # of each line


def line(row: Row) -> str:
    """Return the fields of a row as a JSON object on one line."""
    return json.dumps(row.fields())


def left(asked: list[Row], path: Path) -> tuple[list[Row], bool]:
    """Return the rows that the file does not name yet, each name once, and whether any of the others had an error.

    The file's last line is dropped if it is only half written.

    Raises:
        UsageError: the file is not in a folder that exists, or holds anything else; stdin is among the rows.
        RunError: the file cannot be read.
    """
    shown = f"--output {printable(path)}"
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise UsageError(f"{shown}: must be a file to write, in a folder that exists; pass another")
    if any(row.source is not None and not isinstance(row.source, str) for row in asked):
        raise UsageError(f"{shown}: must be for pictures that have names, got -; leave out one of the two")
    try:
        before = _read(path, shown) if path.exists() else {}
    except OSError as error:
        raise RunError(f"{shown}: cannot be read: {error.strerror}; pass another") from error
    rows = {row.name: row for row in asked}
    new = [row for name, row in rows.items() if name not in before]
    if before:
        print(
            f"{printable(path)}: has {len(rows) - len(new):,} of the pictures, {len(new):,} are left", file=sys.stderr
        )
    return new, any(before.get(name) for name in rows)


def _read(path: Path, shown: str) -> dict[str, bool]:
    """Return the names of the pictures, each with whether it had an error."""
    before, end = {}, 0
    with path.open("rb+") as file:
        for number, content in enumerate(file, 1):
            try:
                if not content.endswith(b"\n"):
                    # nothing of anybody else's is cut off
                    if not (content.startswith(_START) or _START.startswith(content)):
                        raise ValueError
                    break
                fields = json.loads(content)
                before[fields["picture"]] = fields["error"] is not None
            except (ValueError, LookupError, TypeError) as error:
                rule = f"line {number} must be an answer as --jsonl prints it, is not"
                raise UsageError(f"{shown}: {rule}; pass another file") from error
            end += len(content)
        file.truncate(end)
    return before


@contextmanager
def appended(path: Path) -> Iterator[Callable[[Row], None]]:
    """Open the file; yield what appends a row to it at once.

    Raises:
        RunError: it cannot be written.
    """

    def add(row: Row) -> None:
        with _writing(path):
            file.write(f"{line(row)}\n".encode())

    with _writing(path):
        file = path.open("ab", buffering=0)  # a line is there once it is written
    with file:
        yield add


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        rule = f"--output {printable(path)}: cannot be written: {error.strerror}"
        raise RunError(f"{rule}; once it can be, the same command goes on") from error
