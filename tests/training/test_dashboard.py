"""The terminal dashboard, in a terminal (tmux, from Debian) and without one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb

from lenet_lightning.__main__ import main
from lenet_lightning.errors import RunError
from lenet_lightning.training import dashboard

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.wandb
DOTS = [chr(code) for code in range(0x2801, 0x2900)]  # what the lines of the charts are drawn with


@pytest.fixture
def two_runs(command, monkeypatch):
    """Two finished offline runs, named one and two."""
    wandb.teardown()  # the client reads the environment once in a process
    for name in ("one", "two"):
        monkeypatch.setenv("WANDB_MODE", "offline")
        options = ("--trainer.limit_train_batches=3", "--trainer.max_epochs=2", "--pictures=false")
        monkeypatch.setenv("WANDB_NAME", name)
        code, _, _ = command("fit", *options)
        assert code == 0
    wandb.teardown()
    return Path("runs")


def test_without_a_terminal_it_prints_the_summary(two_runs, capfd):
    assert main(["dashboard"]) == 0
    out, _ = capfd.readouterr()
    assert "val/acc" in out
    assert "wandb login && wandb sync" in out
    newest = sorted(path.name for path in two_runs.glob("2*"))[-1]
    assert newest in out
    assert main(["dashboard", "runs/latest"]) == 0
    assert "val/acc" in capfd.readouterr().out
    assert main(["dashboard", "all"]) == 0
    out, _ = capfd.readouterr()
    assert all(run.name in out for run in two_runs.glob("2*"))


@pytest.mark.parametrize("network", ["lenet5_1998", "lenet1"])
def test_runs_of_the_historical_networks_are_shown_too(command, network, monkeypatch, capfd):
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    short = ("--trainer.limit_train_batches=3", "--trainer.max_epochs=2", "--pictures=false", "--model.compile=false")
    code, _, err = command("fit", "--config", ROOT / "configs" / f"{network}.yaml", *short, "--data.batch_size=500")
    assert (code, err) == (0, "")
    wandb.teardown()
    assert main(["dashboard"]) == 0
    out, _ = capfd.readouterr()
    assert all(figure in out for figure in ("train/loss", "train/acc", "test/acc", network))
    assert "val/acc" not in out  # nothing was validated


def test_no_run_is_a_usage_error(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard"]) == 2
    assert "train one" in capfd.readouterr().err
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    assert main(["dashboard", "runs/empty"]) == 2
    assert "metrics.csv" in capfd.readouterr().err


@pytest.fixture
def terminal():
    """A terminal that runs a command: a function that types a key and one that reads the screen."""
    session = f"lenet-{os.getpid()}"

    def tmux(*arguments):
        return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True).stdout

    def start(command):
        tmux("new-session", "-d", "-s", session, "-x", "180", "-y", "50", "-c", os.getcwd(), command)

    def read(*wanted):
        for _ in range(100):
            time.sleep(0.1)
            screen = tmux("capture-pane", "-p", "-t", session)
            if all(text in screen for text in wanted):
                return screen
        pytest.fail(f"not on the screen within 10 s: {wanted}\n{screen}")

    yield start, lambda key: tmux("send-keys", "-t", session, key), read
    subprocess.run(["tmux", "kill-session", "-t", session], capture_output=True, check=False)


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux; CI installs it")
def test_in_a_terminal_it_draws_charts_of_both_runs(two_runs, terminal):
    start, press, read = terminal
    start(f"PYTHONPATH={ROOT} {sys.executable} -m lenet_lightning dashboard all")
    older, newer = sorted(path.parent.name for path in two_runs.glob("2*/wandb/*run-*/*.wandb"))
    screen = read(f"▶ {newer}", f"○ {older}", "train/loss", "val/acc")
    press("Down")
    press("Space")
    both = read(f"● {older}")
    # the charts of one line become charts of two
    assert sum(both.count(mark) for mark in DOTS) > sum(screen.count(mark) for mark in DOTS)


def test_runs_that_cannot_be_put_beside_each_other_are_named_with_the_reason(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(RunError, match=f"{tmp_path}: must take links, .* Operation not permitted; name one run"):
        dashboard._link(tmp_path / "run", tmp_path)
