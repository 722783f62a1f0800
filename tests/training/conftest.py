import os
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_lightning.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(fake_mnist, tmp_path, monkeypatch, capfd):
    """Run a command line on the fake digits, in a folder of the test's own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_TAGS", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no login of the person who runs the tests
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    def run(*args):
        code = main([args[0], *map(str, args[1:]), "--data.root", str(fake_mnist)])
        out, err = capfd.readouterr()
        print(out, err)  # shown when a test fails
        return code, out, err

    return run


@pytest.fixture
def quick():
    """Options that make a run short: 6 steps an epoch, few validation samples, no test, no pictures and no W&B."""
    return (
        "--data.val_size=1000",
        "--trainer.limit_test_batches=0",
        "--pictures=false",
        "--trainer.limit_train_batches=6",
        "--data.batch_size=64",
        "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
    )


# imported by every Python that finds it on its path: a process of its own takes the fakes for MNIST, too
SITECUSTOMIZE = """
import hashlib, pathlib
from lenet_lightning.data import files
raw = pathlib.Path({root!r}, "MNIST", "raw")
files.FILES = [f._replace(sha256=hashlib.sha256((raw / f.name).read_bytes()).hexdigest()) for f in files.FILES]
"""


@pytest.fixture
def on_fakes(fake_mnist_root, tmp_path):
    """The environment in which `python -m lenet_lightning` in `tmp_path` trains on the fakes."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE.format(root=str(fake_mnist_root)))
    (tmp_path / "data").symlink_to(fake_mnist_root)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "WANDB_MODE": "disabled"}


@pytest.fixture
def process(on_fakes, tmp_path):
    """Start a command line in a process of its own, its output in pipes."""
    started = []

    def start(*args, environment=None):
        command = [sys.executable, "-m", "lenet_lightning", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        merged = on_fakes | (environment or {})
        started.append(subprocess.Popen(command, cwd=tmp_path, env=merged, text=True, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()
