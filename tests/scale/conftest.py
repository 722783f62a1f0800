"""What a laptop does not have by itself: file systems that refuse calls, a Slurm."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scale.slurm import cluster, slurm  # noqa: F401 - fixtures
from tests.training.conftest import ROOT, SITECUSTOMIZE, command, on_fakes, quick  # noqa: F401 - fixtures

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("scale")


@pytest.fixture(scope="session")
def failing_calls(tmp_path_factory):
    """The library that lets calls fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("library") / "failing_calls.so"
    subprocess.run(
        [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "failing_calls.c", "-ldl"], check=True
    )
    return library


@pytest.fixture(scope="session")
def mirror(fake_mnist_root, tmp_path_factory):
    """The address of the archives of the fakes."""
    folder = tmp_path_factory.mktemp("mirror")
    for file in (fake_mnist_root / "MNIST" / "raw").iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
    return f"file://{folder}/"


# one process for several command lines: importing takes most of their time
COMMANDS = """
import json, sys
from lenet_lightning.__main__ import main
for args in json.loads(sys.argv[1]):
    code = main(args)
    print(code, end="\\f", flush=True)
    print(end="\\f", file=sys.stderr, flush=True)
"""


@pytest.fixture
def python(failing_calls, fake_mnist_root, tmp_path):
    """Run Python in `python.folder` with the fakes for MNIST, where the calls of `failing` fail."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE.format(root=str(fake_mnist_root)))
    work = tmp_path / "work"
    (work / "home").mkdir(parents=True)

    def run(failing, *args, below=None):
        """Exit code, stdout and stderr."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "HOME": str(work / "home"),
            "LD_PRELOAD": str(failing_calls),
            "FAILING": failing,
        }
        environment |= {"FAILING_BELOW": str(below)} if below else {}
        words = [sys.executable, *map(str, args)]
        done = subprocess.run(
            words, cwd=work, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        print(*args, done.stdout, done.stderr, sep="\n")  # shown when a test fails
        return done.returncode, done.stdout, done.stderr

    def commands(failing, *lines, below=None):
        """Exit code, stdout and stderr of each command line, all in one process."""
        _, out, err = run(failing, "-c", COMMANDS, json.dumps([list(map(str, line)) for line in lines]), below=below)
        outs = [each.rpartition("\n") for each in out.split("\f")[:-1]]
        assert len(outs) == len(lines)
        return [(int(code), text, said) for (text, _, code), said in zip(outs, err.split("\f"), strict=False)]

    run.folder, run.commands = work, commands
    return run
