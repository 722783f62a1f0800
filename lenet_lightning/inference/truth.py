"""Compare what was read with the digits that files or folders are named by."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError, one_line, printable, remedy
from lenet_lightning.inference import folder
from lenet_lightning.inference.rows import Row

# where the truth of a picture is
KINDS = ("name", "folder")


class Score:
    """How many pictures were read right.

    Args:
        kind: "name": the digit is the only one that begins or ends the file's name as a number of its own, as in 7.png,
            3_0012.jpg, scan-04_9.png. "folder": it is the name of the file's folder.
        rows: all pictures.
        line: whether each picture holds a row of digits, so that the truth is a number.

    Raises:
        UsageError: a picture has no such name.
    """

    def __init__(self, kind: str, rows: Sequence[Row], line: bool) -> None:
        self._truths = {row.name: _truth(row, kind, line) for row in rows if row.source is not None}
        self._read: list[tuple[int, int]] = []
        self._wrong: list[str] = []
        self._right = self._rejected = self._unread = 0

    def add(self, row: Row) -> None:
        """Compare one picture."""
        if row.error:
            self._unread += 1
            return
        fields, true = row.fields(), self._truths[row.name]
        if fields["rejected"]:
            self._rejected += 1
        elif str(fields["digit"]) == true:
            self._right += 1
        else:
            read = "not read: blank" if fields["digit"] is None else f"read as {fields['digit']}"
            self._wrong.append(f"{printable(row.name)}: is {true}, {read}")
        if isinstance(fields["digit"], int):
            self._read.append((int(true), fields["digit"]))

    def tell(self) -> None:
        """Print to stderr which pictures were read wrong, and the accuracy over all."""
        count = self._right + len(self._wrong) + self._rejected + self._unread
        parts = f"{len(self._wrong):,} wrong, {self._rejected:,} rejected, {self._unread:,} not read"
        lines = [*self._wrong, f"{self._right / max(count, 1):.2%} right: {self._right:,} of {count:,}; {parts}"]
        print("\n".join(lines), file=sys.stderr)

    def draw(self, path: Path) -> None:
        """Write a PNG with the count of each true digit and the digit that was read.

        Raises:
            RunError: the file cannot be written; an older one stays as it was.
        """
        import numpy as np

        from lenet_lightning.evaluation.confusion import confusion_matrix  # matplotlib takes a while to import

        labels, predicted = np.array(self._read, int).reshape(-1, 2).T
        try:
            with replacing(path) as partial:
                confusion_matrix(labels, predicted).savefig(partial, dpi=110, format="png")
        except OSError as error:
            raise RunError(
                f"--confusion {printable(path)}: cannot be written: {one_line(error.strerror or error)}; "
                f"{remedy(error, 'pass another file')}"
            ) from error


def folders(names: Sequence[str]) -> list[str]:
    """Return the names with each folder replaced by the folders in it that are named by numbers, if it has any.

    Raises:
        UsageError: a folder cannot be read.
    """
    found: list[str] = []
    for name in names:
        try:
            found += (folder.by_digit(Path(name)) if Path(name).is_dir() else []) or [name]
        except OSError as error:
            raise UsageError(f"{printable(name)}: cannot be read: {error.strerror}; pass another folder") from error
    return found


def _truth(row: Row, kind: str, line: bool) -> str:
    path = Path(row.name).absolute()
    if kind == "folder":
        numbers = set(re.findall(r"\A\d+\Z", path.parent.name, re.ASCII))
    else:
        numbers = set(re.findall(r"\A\d+(?!\d)|(?<!\d)\d+\Z", path.stem, re.ASCII))
    found = {number for number in numbers if line or len(number) == 1}
    if len(found) != 1 or not isinstance(row.source, str):
        what = "number" if line else "digit"
        rule = "its folder must be named by a" if kind == "folder" else "its name must begin or end with one"
        raise UsageError(
            f"{printable(row.name)}: {rule} {what} for --truth {kind}; put pictures into folders named by it: "
            "--truth folder"
        )
    return found.pop()
