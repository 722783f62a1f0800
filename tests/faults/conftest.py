"""Processes that are cheap enough to be killed by the dozen, and what makes two runs equal."""

import contextlib
import csv
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lenet_lightning.__main__ import main
from lenet_lightning.training import checkpoints
from tests.training.conftest import SITECUSTOMIZE, command, on_fakes, process, quick  # noqa: F401

ROOT = Path(__file__).parents[2]
LIMIT_S = 90  # for any one process; most take two seconds

# 6 steps an epoch with everything that could be lost on: augmentation, momentum, schedule, average; and, by what `_run`
# sets up, gradients that are noisy by the global random state
SHORT = (
    "--trainer.max_epochs=3",
    "--trainer.limit_train_batches=6",
    "--trainer.limit_test_batches=0",
    "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
    "--data.val_size=1000",
    "--data.batch_size=32",
)
# a run that can be lengthened
CONSTANT = ("--model.schedule=constant", "--data.distortion.end=1")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


def _run(folder, args, fault, noise=True):
    """In the new process: the command line, its output in files, after what `fault` names is set up."""
    from tests.faults import injected

    os.setsid()  # so that a test can end it with all that it started
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout.reconfigure(line_buffering=True)
    if noise:
        injected.noise()
    if fault:
        name, *arguments = fault
        getattr(injected, name)(*arguments)
    code = main(list(args))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@dataclass
class Running:
    folder: Path
    process: multiprocessing.Process

    def wait(self, limit_s=LIMIT_S):
        """The exit code (negative: the signal), stdout and stderr."""
        self.process.join(limit_s)
        assert self.process.exitcode is not None, f"still running after {limit_s} s"
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        print(out, err)  # shown when a test fails
        return self.process.exitcode, out, err

    def until(self, what, limit_s=LIMIT_S):
        """Wait until `what()` is true; whether it was before the process ended."""
        end = time.monotonic() + limit_s
        while not (met := what()) and self.process.exitcode is None and time.monotonic() < end:
            time.sleep(0.002)
        return met

    def until_line(self, start):
        out = self.folder / "out"
        assert self.until(lambda: out.exists() and any(line.startswith(start) for line in out.read_text().splitlines()))

    def signal(self, number):
        os.kill(self.process.pid, number)


@pytest.fixture(scope="session")
def server(fake_mnist_root, tmp_path_factory):
    """What forks processes that have everything imported already, with the fakes for MNIST."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE.format(root=str(fake_mnist_root)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lenet_lightning.training.cli", "tests.faults.injected"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
        patch.setenv("WANDB_MODE", "disabled")
        patch.setenv("OMP_NUM_THREADS", "1")
        # the server is started by the first process, with the environment of now
        started = context.Process(target=len, args=((),))
        started.start()
        started.join(LIMIT_S)
    return context


@pytest.fixture
def start(server, fake_mnist_root):
    """Start `python -m lenet_lightning ARGS` in `folder`, in a process of its own."""
    begun = []

    def begin(folder, *args, fault=None, noise=True):
        folder.mkdir(exist_ok=True, parents=True)
        if not (folder / "data").exists():
            (folder / "data").symlink_to(fake_mnist_root)
        for name in ("out", "err"):
            (folder / name).unlink(missing_ok=True)
        begun.append(Running(folder, server.Process(target=_run, args=(folder, args, fault, noise))))
        begun[-1].process.start()
        return begun[-1]

    yield begin
    for each in begun:
        if each.process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.process.pid, 9)
            each.process.join(LIMIT_S)


@pytest.fixture(scope="session")
def reference(server, fake_mnist_root, tmp_path_factory):
    """The run that nothing interrupted, by its options: its folder; made once."""
    made = {}

    def run(*options):
        if options not in made:
            folder = tmp_path_factory.mktemp("reference")
            (folder / "data").symlink_to(fake_mnist_root)
            running = Running(folder, server.Process(target=_run, args=(folder, ("fit", *SHORT, *options), None)))
            running.process.start()
            assert running.wait()[0] == 0
            made[options] = the_run(folder)
        return made[options]

    return run


def the_run(folder):
    (run,) = (path for path in (folder / "runs").iterdir() if path.is_dir() and not path.is_symlink())
    return run


def differences(one, other, at=""):
    """Where two checkpoints differ, but for the clock."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f"{at}/{key}" for key in one.keys() ^ other.keys()]
        return found + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{at}/{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{at}/{i}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [at]
    return [] if at == "/training_seconds" or one == other else [f"{at}: {one!r} {other!r}"]


def rows(run):
    """metrics.csv without what the clock says."""
    read = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in read]


def assert_equal_runs(run, reference):
    """Weights, optimizer, schedule, average, random states, counters, metrics and kept weights are the same."""
    for name in ("last.ckpt", "best.ckpt"):
        assert differences(*(checkpoints.read_checkpoint(each / name) for each in (run, reference))) == []
    assert rows(run) == rows(reference)
    assert (run / "weights.safetensors").read_bytes() == (reference / "weights.safetensors").read_bytes()
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]
