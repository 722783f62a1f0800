"""Atomic writes: a file is replaced as a whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# begins the names of unfinished files and of nothing else: what a killed process left can be removed safely
PARTIAL = ".lenet_lightning-partial-"


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
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=PARTIAL, suffix=target.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes it 0600; the file should be readable like any other the user makes
        umask = os.umask(0)
        os.umask(umask)
        with suppress(OSError):  # a file system without modes
            partial.chmod(0o666 & ~umask)
        _fsync(partial, os.O_RDWR)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows opens no folders
        # without this a crash of the machine could bring the older directory entry back
        _fsync(target.parent, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system that cannot
            raise
    finally:
        os.close(handle)
