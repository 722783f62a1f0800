"""What torchrun starts again goes on in its own run."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.conftest import assert_equal_runs, the_run
from tests.scale.slurm import FIT

pytestmark = [pytest.mark.scale, pytest.mark.timeout(300)]
PLAIN = "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture
def torchrun(on_fakes, tmp_path):
    """Start torchrun with two processes; its stdout goes to a file."""
    begun = []

    def start(*options, name="out"):
        command = [*TORCHRUN, *options, "-m", "lenet_lightning", *FIT, "--trainer.devices=2", PLAIN]
        environment = on_fakes | {"OMP_NUM_THREADS": "1"}
        with (tmp_path / name).open("w") as out, (tmp_path / f"{name}-err").open("w") as err:
            begun.append(
                subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=err, start_new_session=True)
            )
        return begun[-1]

    yield start
    for each in begun:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "lenet_lightning" in line]


def test_killed_workers_are_started_again_in_the_same_run(torchrun, tmp_path):
    assert torchrun(name="whole").wait(120) == 0
    reference = the_run(tmp_path)
    (tmp_path / "runs").rename(tmp_path / "reference")
    reference = tmp_path / "reference" / reference.name

    stopped = torchrun("--max_restarts=2")
    for line, rank in (("epoch 1/4", 1), ("epoch 3/4", 0)):
        end = time.monotonic() + 60
        while line not in (tmp_path / "out").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(children(stopped.pid)[rank], signal.SIGKILL)
    assert stopped.wait(120) == 0
    assert (tmp_path / "out").read_text().count("resumes ") == 2
    assert_equal_runs(the_run(tmp_path), reference)
