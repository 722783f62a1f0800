"""The terminal dashboard, in a terminal (tmux, from Debian) and without one."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
import yaml

from lenet_lightning.__main__ import main
from lenet_lightning.errors import RunError
from lenet_lightning.training import comparison, dashboard

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.wandb
DOTS = [chr(code) for code in range(0x2801, 0x2900)]  # what the lines of the charts are drawn with


@pytest.fixture
def two_runs(command, monkeypatch):
    """Two finished offline runs, named one and two, with these seeds."""
    wandb.teardown()  # the client reads the environment once in a process
    for seed, name in enumerate(("one", "two"), 1):
        monkeypatch.setenv("WANDB_MODE", "offline")
        options = ("--trainer.limit_train_batches=3", "--trainer.max_epochs=2", f"--seed_everything={seed}")
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
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(" 2")]
    runs = sorted(two_runs.glob("2*"))
    for seed, (line, run) in enumerate(zip(lines, runs, strict=True), 1):
        accuracy = max(float(row["val/acc"]) for row in csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        tested = json.loads((run / "results.json").read_text())["test/acc"]
        assert line.split() == [run.name, f"{accuracy:.2%}", f"{tested:.2%}", "0.01", str(seed)]


def test_of_several_runs_it_prints_what_differs(two_runs, capfd):
    runs = sorted(two_runs.glob("2*"))
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    config["model"]["label_smoothing"] = 0.25
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["dashboard", *map(str, runs)]) == 0
    rows = {(line.split() or [""])[0]: line.split()[1:] for line in capfd.readouterr().out.splitlines()}
    assert rows["model.label_smoothing"] == ["0.0", "0.25"]
    assert rows["seed_everything"] == ["1", "2"]
    assert {"best", "test/loss"} <= rows.keys()
    assert "data.batch_size" not in rows  # the same in both
    (runs[1] / "config.yaml").write_text("{")
    (runs[0] / "results.json").write_text("[")
    assert main(["dashboard", *map(str, runs)]) == 0
    (line,) = (line for line in capfd.readouterr().out.splitlines() if "label_smoothing" in line)
    assert line.split() == ["model.label_smoothing", "0.0"]


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
    older, newer = (comparison.label(run) for run in sorted(two_runs.glob("2*")))
    assert older.endswith("% 0.01 #1")
    screen = read(newer, older, "train/loss", "val/acc", "val/loss", "4 filtered from")
    assert "time/epoch_s" not in screen.partition("Summary")[0]
    (older,) = [re.search(rf"○ (\S+{older})", line)[1] for line in screen.splitlines() if older in line]
    press("Down")
    press("Space")
    both = read(f"● {older}")
    # the charts of one line become charts of two
    assert sum(both.count(mark) for mark in DOTS) > sum(screen.count(mark) for mark in DOTS)


def test_runs_that_cannot_be_put_beside_each_other_are_named_with_the_reason(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(RunError, match=f"{tmp_path}: must take links, .* Operation not permitted; set TMPDIR"):
        dashboard._link(tmp_path / "run", tmp_path / "run-id.wandb", "run")
