"""Atomic writes: a file is replaced as a whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# begins the names of unfinished files and of nothing else: what a killed process left can be removed safely
PARTIAL = ".lenet_lightning-partial-"

# what fsync says where a file system has none, or not for folders, or not for this user
_NO_FSYNC = (
    *(errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EPERM, errno.EACCES, errno.EROFS, errno.EBADF),
)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`, with its suffix, to write to; on leaving, it is fsynced and replaces `target`.

    If the block raises, `target` is as it was and nothing is left beside it.

    Raises:
        OSError: the folder of `target` cannot be written to, or is full; its `filename` is `target`.
    """
    try:
        with _partial(target) as partial:
            yield partial
    except OSError as error:
        if error.errno and not isinstance(error, ConnectionError):
            error.filename = str(target)  # a full disk has none, and nobody knows the partial file
        raise


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    # not by tempfile, whose files are 0600: some file systems let nobody change that
    partial = target.parent / f"{PARTIAL}{secrets.token_hex(4)}{target.suffix}"
    partial.touch(exist_ok=False)
    try:
        yield partial
        _fsync(partial, os.O_RDWR)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):  # what was raised first is the cause
            partial.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows opens no folders
        # without this a crash of the machine could bring the older directory entry back
        _fsync(target.parent, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    try:
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
