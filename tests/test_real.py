"""The real MNIST, through the command line as a user types it: minutes, not seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


STARTER = """
import os, subprocess, sys
started = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(started.pid, 0)
print(usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """A default run cut to 2 epochs: its folder, what it printed, and its peak memory in bytes."""
    folder = tmp_path_factory.mktemp("real")
    command = [sys.executable, "-m", "lenet_lightning", "fit", "--config", str(ROOT / "configs" / "default.yaml")]
    options = ["--trainer.max_epochs=2", f"--data.root={ROOT / 'data'}", f"--trainer.default_root_dir={folder}"]
    # from a small process: a child of this one would be counted with what the tests before took
    starter = [sys.executable, "-c", STARTER, *command, *options]
    *out, last = subprocess.run(starter, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    peak, code = map(int, last.split())
    assert code == 0
    (run,) = folder.glob("2*-default")
    return run, "\n".join(out), peak * 1024


def test_two_epochs_reach_98_5_percent_of_all_ten_thousand(two_epochs):
    run, out, _ = two_epochs
    results = json.loads((run / "results.json").read_text())
    assert results["test/acc"] >= 0.985
    assert f"({round(results['test/acc'] * 10_000):,} of 10,000)" in out


def test_training_takes_less_than_one_and_a_half_gigabytes(two_epochs):
    _, _, peak = two_epochs
    print(f"peak memory {peak / 1e9:.2f} GB")
    assert peak <= 1.5e9
