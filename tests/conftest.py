"""Stand-ins for MNIST: the bytes are fake, the code that reads them is the real one."""

import gc
import hashlib
import signal
import struct

import numpy as np
import pytest
import torch

from lenet_lightning.data import files

# the garbage collector would look through all that the imported packages keep, again and again: a tenth of all time
gc.set_threshold(100_000, 50, 100)

# a shell ignores the first in what it starts in the background, nohup the second, and what the tests start would
# inherit that
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    if number and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def fake_mnist_root(tmp_path_factory):
    """A data folder with 60,000 + 10,000 digits that are quick to make and can be learned; shared, not to change."""
    root = tmp_path_factory.mktemp("fake_mnist")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    # each digit is its own pattern of blobs, in the middle of the picture as in MNIST
    blobs = np.kron(rng.random((10, 5, 5)) < 0.3, np.ones((4, 4), bool))
    templates = np.pad(blobs * np.uint8(200), ((0, 0), (4, 4), (4, 4)))
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        images = rng.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        images += templates[labels]
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels.tobytes())
    return root


@pytest.fixture(scope="session")
def _fake_files(fake_mnist_root):
    raw = fake_mnist_root / "MNIST" / "raw"
    return tuple(
        file._replace(sha256=hashlib.sha256((raw / file.name).read_bytes()).hexdigest()) for file in files.FILES
    )


@pytest.fixture
def fake_mnist(fake_mnist_root, _fake_files, monkeypatch):
    """The same folder, with the package taking the fake digits for MNIST in this process; copy it to damage it."""
    monkeypatch.setattr(files, "FILES", _fake_files)
    return fake_mnist_root


@pytest.fixture
def digits():
    """A hundred normalised images on which a network can be overfitted, and their labels."""
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(10)
    templates = torch.randn(10, 1, 28, 28)
    return templates[labels] + 0.5 * torch.randn(100, 1, 28, 28), labels
