"""Run folders: where a run keeps what it makes, held by one process at a time."""

import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lenet_lightning.atomic import PARTIAL
from lenet_lightning.errors import RunError, UsageError, printable, remedy

BEST, LAST = "best.ckpt", "last.ckpt"

NAME_BYTES = 60  # of a part of a run's name: file systems take 255 in all, some 143


def folder(root: Path, begun: Path | None, configs: Sequence[Any] | None, job: str | None) -> Path:
    """Return the folder of a run that was begun, or of a new one, named as the last of the configs and as its job.

    Raises:
        UsageError: `root` is no name that a folder can have.
        RunError: the folder cannot be made or written to.
    """
    if begun:
        try:
            check_writable(begun)
        except OSError as error:
            advice = remedy(error, "copy the run to another folder")
            raise RunError(f"{begun}: must be writable to resume this run, got: {error.strerror}; {advice}") from error
        return begun
    passed = [path for path in configs or () if path]
    return create(root, Path(str(passed[-1])).stem if passed else "fit", job)


def create(root: Path, name: str, job: str | None = None) -> Path:
    """Make the folder of a new run, <root>/<time>-<name> or <root>/<time>-<name>-<job>, and return its path.

    Args:
        root: folder of all runs.
        name: any text; what a folder's name should not contain is replaced, and a long one is shortened.
        job: what is to be found by its job again.

    Raises:
        UsageError: `root` is no name that a folder can have.
        RunError: the folder cannot be made or written to.
    """
    stem = "-".join([time.strftime("%Y%m%d-%H%M%S"), plain(name), *([plain(job)] if job else [])])
    where = "pass another one with --trainer.default_root_dir"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            run = root / (stem if number == 1 else f"{stem}-{number}")
            try:
                run.mkdir()
            except FileExistsError:
                continue
            check_writable(run)
            return run
    except ValueError as error:  # a NUL, which only a config can hold
        raise UsageError(f"{printable(root)[:100]}: cannot be the name of a folder for runs; {where}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"{printable(root)[:100]}...: is too long a name for the folder for runs; {where}"
            ) from error
        raise RunError(
            f"{printable(root)}: the folder for runs must be writable, got: {error.strerror}; {remedy(error, where)}"
        ) from error
    raise RunError(f"{printable(root)}: 999 runs named {stem} are there already; try again in a second")


def plain(name: str) -> str:
    """Return any text as a part of a folder's name."""
    signs = (sign if sign.isprintable() and sign not in '<>:"/\\|?*' else "_" for sign in name)
    return "".join(signs).encode()[:NAME_BYTES].decode(errors="ignore").rstrip(" .")


def check_writable(run: Path) -> None:
    """Find out before the first step, not after the first epoch, whether a run can be kept.

    Raises:
        OSError: it cannot.
    """
    with tempfile.NamedTemporaryFile(dir=run, prefix=PARTIAL) as probe:
        probe.write(b"\0")


def check_there(folder: Path) -> None:
    """Refuse to write into a folder that was removed or moved: half a run under its name would hide the loss.

    Raises:
        RunError: it is not there.
    """
    if not folder.is_dir():
        raise RunError(
            f"{printable(folder)}: the run's folder was removed or moved during the training; nothing more is kept; "
            "if it was moved, resume it where it is now: fit --ckpt_path FOLDER/last.ckpt"
        )


@contextmanager
def hold(run: Path | None) -> Iterator[None]:
    """Keep a run's folder from being trained in by two commands at once, and clear what killed ones left behind.

    The lock is on the folder itself, in which no file is made for it, and the kernel releases it when the process
    ends. Where a file system or platform has no such locks, nothing is locked. None: there is no folder.

    Raises:
        UsageError: another process holds it.
    """
    if run is None:
        yield
        return
    handle = _locked(run)
    try:
        _clear_partial(run)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _locked(run: Path) -> int | None:
    try:
        import fcntl  # not on Windows

        handle = os.open(run, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(handle)
        os.close(handle)
        raise UsageError(
            f"{printable(run)}: is being trained{holder}; wait until that ends, or end it, before resuming this run"
        ) from error
    except OSError as error:  # some network file systems
        os.close(handle)
        if (run / LAST).exists():
            warn(f"{printable(run)}: cannot be locked ({error.strerror}); see that no other command trains this run")
        return None
    return handle


def _holder(handle: int) -> str:
    inode = os.fstat(handle).st_ino
    with suppress(OSError):  # only Linux reports it
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5].endswith(f":{inode}"):
                return f" by process {fields[4]}"
    return ""


def _clear_partial(run: Path) -> None:
    # in a Slurm job Lightning would load a hpc_ckpt in place of what it is told to
    for partial in (*run.glob(f"**/{PARTIAL}*"), *run.glob("hpc_ckpt_*.ckpt")):
        if partial.is_file():
            partial.unlink(missing_ok=True)


def point_latest(run: Path) -> None:
    """Make the link <root>/latest point to `run`, by which the newest run is found."""
    root, real = run.parent, run.resolve()
    # a link to a run elsewhere is pointed at by its own name, but for `latest` itself
    target = real.name if real.parent == root.resolve() else run.name if run.name != "latest" else str(real)
    link = root / f"{PARTIAL}latest-{os.getpid()}"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
        link.replace(root / "latest")
    except OSError:  # some file systems have no links, and a folder of that name stays
        link.unlink(missing_ok=True)
        with suppress(OSError):
            if (root / "latest").is_symlink():
                (root / "latest").unlink()  # it would point at an older run


def resume_hint(run: Path | None) -> str:
    """Return what to advise, at the end of a message, after a training that failed; nothing without a last.ckpt."""
    return "; to resume: fit --ckpt_path last" if run and (run / LAST).is_file() else ""


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to <name>.damaged, or the next free such name, and return the new path.

    Raises:
        OSError: the folder cannot be written to.
    """
    names = (f"{path.name}.damaged{number or ''}" for number in range(1000))
    free = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    path.rename(free)
    return free


def warn(text: str) -> None:
    """Print one line that does not end the command."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
