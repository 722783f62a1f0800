"""The four MNIST files: names, sizes, SHA-256 sums and format; their bytes are used only if the sum is right.

No option or variable skips that.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lenet_lightning.errors import RunError, UsageError, one_line, printable

if TYPE_CHECKING:
    import numpy as np


class IdxFile(NamedTuple):
    """A file in IDX format: its name, its size in bytes and the SHA-256 sum of its content."""

    name: str
    size: int
    sha256: str


TRAIN_SIZE, TEST_SIZE = 60_000, 10_000

# training before test, images before labels: the order in which the wheel has them
FILES = (
    IdxFile(
        "train-images-idx3-ubyte",
        16 + TRAIN_SIZE * 784,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        8 + TRAIN_SIZE,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    IdxFile(
        "t10k-images-idx3-ubyte",
        16 + TEST_SIZE * 784,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        8 + TEST_SIZE,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def expand(root: str | Path) -> Path:
    """Return the data folder as an absolute path, with `~` and `$NAME` replaced; paths are expanded here alone.

    Raises:
        UsageError: there is no such user or variable, or it is no path.
    """
    path = os.path.expanduser(os.path.expandvars(root))
    if path.startswith(("~", "$")) or "\0" in path:
        raise UsageError(f"data.root must be a path, a leading ~ or $ one that is defined, got {one_line(root)}")
    return Path(path).absolute()


def read(path: Path, file: IdxFile) -> "np.ndarray":
    """Return the bytes of one of the four files, uint8: those that were verified, read once.

    Raises:
        ValueError: the content is another, or cannot be read; the message has the reason.
    """
    import numpy as np

    try:
        if path.exists() and not path.is_file():
            raise ValueError("is no regular file")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != file.size:
                raise ValueError(f"wrong SHA-256 sum ({size} bytes instead of {file.size})")
            content = np.fromfile(stream, np.uint8, file.size)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}{owned(path, error)})") from error
    if hashlib.sha256(content.data).hexdigest() != file.sha256:
        raise ValueError("wrong SHA-256 sum")
    return content


def read_idx(path: Path, file: IdxFile) -> "np.ndarray":
    """Return what one of the four files holds: images (N, 28, 28) or labels (N,), uint8.

    Raises:
        RunError: the file is missing, damaged or cannot be read.
    """
    try:
        content = read(path, file)
    except ValueError as error:
        raise RunError(f"{printable(path)}: {error}; run `fit` to fetch it again") from error
    # IDX: in the fourth byte the number of dimensions, then each as a big-endian word, then the values
    begin = 4 + 4 * int(content[3])
    return content[begin:].reshape(tuple(content[4:begin].view(">u4")))


def training_images(root: Path) -> "np.ndarray | None":
    """Return the 60,000 training images (60,000, 28, 28), uint8, or None unless they are below `root`, verified."""
    try:
        return read_idx(expand(root) / "MNIST" / "raw" / FILES[0].name, FILES[0])
    except RunError:
        return None


def faults(raw: Path, expected: Iterable[IdxFile]) -> dict[IdxFile, str]:
    """Return what is wrong with those files in `raw` that are not the expected ones."""
    return {file: reason for file in expected if (reason := fault(raw / file.name, file))}


def fault(path: Path, file: IdxFile) -> str:
    """Return what is wrong with the file at `path`; nothing if it is `file`."""
    try:
        read(path, file)
    except ValueError as error:
        return str(error)
    return ""


def owned(path: Path, error: OSError) -> str:
    """Return who owns `path`, if that is why something is not permitted."""
    if not isinstance(error, PermissionError):
        return ""
    try:
        owner: int | str = path.stat().st_uid
        if owner == user():
            return ""
        with suppress(KeyError):
            owner = path.owner()
        return f"; it belongs to {printable(owner)}"
    except OSError:  # in a closed folder
        return ""


def user() -> int:
    """Return the user's number; on Windows, where all files are user 0's, 0."""
    return getattr(os, "geteuid", lambda: 0)()
