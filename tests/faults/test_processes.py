"""Several processes train as one: each digit once, one writer, one end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lenet_lightning.training import checkpoints
from tests.faults.conftest import assert_equal_runs, rows, the_run

# 1,001 digits to train on and 58,999 to validate: neither can be halved
TRAINED, VALIDATED = 1_001, 58_999
TWO = (
    "fit",
    "--trainer.accelerator=cpu",
    "--trainer.devices=2",
    "--trainer.max_epochs=2",
    f"--data.val_size={VALIDATED}",
    "--data.batch_size=32",
    "--model.schedule=constant",
    "--data.distortion.end=1",
    "--pictures=false",
)
NOISE = "--trainer.callbacks=tests.faults.noise.Noise"
PLAIN = "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV"


def run(on_fakes, folder, *args, launcher=("-m",), limit_s=90, **environment):
    """Exit code, stdout, stderr."""
    command = [sys.executable, *launcher, "lenet_lightning", *args]
    begun = subprocess.Popen(
        command,
        cwd=folder,
        env=on_fakes | {"OMP_NUM_THREADS": "1"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = begun.communicate(timeout=limit_s)
    finally:
        end_session(begun.pid)
    print(out, err)
    return begun.returncode, out, err


def end_session(leader):
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_two_processes_see_every_digit_once_and_write_once(on_fakes, tmp_path):
    # undistorted, so that a digit can be known again
    still = [f"--data.distortion.{name}=0" for name in ("rotation", "scale", "shift", "shear", "elastic")]
    watched = "--trainer.callbacks=[tests.faults.noise.Watch]"
    # each waits for the gradients of the other: this one must not freeze anything
    frozen = ("--trainer.callbacks+=lenet_lightning.FrozenFirstLayer", "--trainer.callbacks.after=0.5")
    code, out, err = run(on_fakes, tmp_path, *TWO, *still, watched, *frozen, WANDB_MODE="offline")
    assert (code, err) == (0, "")

    seen = [(tmp_path / f"seen-{rank}").read_text().split("\n")[:-1] for rank in (0, 1)]
    assert sorted(len(each) for each in seen) == [1000, 1002]  # of two epochs
    for epoch in ("0 ", "1 "):
        digits = [line for each in seen for line in each if line.startswith(epoch)]
        assert len(digits) == len(set(digits)) == TRAINED
    assert (tmp_path / "ended-0").read_text() == (tmp_path / "ended-1").read_text()  # the average, too

    folder = the_run(tmp_path)  # there is one
    files = {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "weights.safetensors", "results.json", "wandb"}
    assert {path.name for path in folder.iterdir()} == files
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert not list(tmp_path.glob("wandb"))
    metrics = rows(folder)
    assert [row["epoch"] for row in metrics] == ["1", "2"]
    for row in metrics:
        for name, count in (("train/acc", TRAINED), ("val/acc", VALIDATED)):
            correct = float(row[name]) * count
            assert correct == pytest.approx(round(correct), abs=0.02)
    results = json.loads((folder / "results.json").read_text())
    assert results["processes"] == 2
    assert sum("epoch" in line for line in out.splitlines()) == 2

    # one process finds the same in the same checkpoint, to the last digit
    for verb, count in (("test", 10_000), ("validate", VALIDATED)):
        lines = []
        for devices in (1, 2):
            code, out, err = run(on_fakes, tmp_path, verb, f"--trainer.devices={devices}", "--trainer.callbacks=null")
            assert (code, err) == (0, "")
            lines.append(out)
        assert lines[0] == lines[1]
        assert f"of {count:,})" in lines[0]


def test_02_resume_is_exact_in_two_processes_however_started(on_fakes, tmp_path):
    folders = [tmp_path / name for name in ("whole", "interrupted")]
    for folder in folders:
        folder.mkdir()
        (folder / "data").symlink_to(tmp_path / "data")
    short = (NOISE, PLAIN, "--trainer.limit_test_batches=0")
    assert run(on_fakes, folders[0], *TWO, *short)[0] == 0
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=2", "-m")
    code, out, _ = run(on_fakes, folders[1], *TWO, *short, "--trainer.max_epochs=1", launcher=torchrun)
    assert code == 0
    assert sum(line.startswith("epoch") for line in out.splitlines()) == 1
    config = f"--config={the_run(folders[1])}/config.yaml"  # it names a callback of these tests
    code, _, err = run(on_fakes, folders[1], "fit", config, "--ckpt_path=last", "--trainer.max_epochs=2")
    assert (code, err) == (0, "")
    assert_equal_runs(*map(the_run, reversed(folders)))
    code, _, err = run(on_fakes, folders[1], "fit", config, "--ckpt_path=last", "--trainer.devices=1")
    assert code == 2
    assert "a run ends with as many processes as it began with" in err


ENDS = {
    "sigterm": ("first", signal.SIGTERM, {143}),
    "sigterm to all": ("all", signal.SIGTERM, {143}),
    "ctrl-c": ("all", signal.SIGINT, {130}),
    "terminal closed": ("all", signal.SIGHUP, {129}),
    "the first dies": ("first", signal.SIGKILL, {-9}),
    "the second dies": ("second", signal.SIGKILL, {1, -9}),
    "sigterm to the second": ("second", signal.SIGTERM, {1}),
}


@pytest.mark.parametrize(("whom", "number", "codes"), ENDS.values(), ids=ENDS)
def test_05_06_no_process_outlives_the_others(two, tmp_path, whom, number, codes):
    first, second = two
    sent = time.monotonic()
    for pid in {"first": [first.pid], "second": [second], "all": [first.pid, second]}[whom]:
        os.kill(pid, number)
    _, err = first.communicate(timeout=30)
    print(err)
    assert first.returncode in codes
    assert_gone_within(10, sent, second)
    assert len(err.strip().splitlines()) <= 1
    assert (the_run(tmp_path) / "last.ckpt").exists()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["term", "int", "hup"])
def test_16_a_signal_ends_all_though_one_is_frozen(two, tmp_path, number, times):
    first, second = two
    os.kill(second, signal.SIGSTOP)
    time.sleep(2.0)  # by now the first one waits for it, in C
    sent = time.monotonic()
    for again in range(times):
        time.sleep(0.5 * again)
        first.send_signal(number)
    assert first.wait(30) == 128 + number
    assert_gone_within(10 if times == 1 else 3, sent, second)
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_16_what_torchrun_started_ends_with_it(on_fakes, tmp_path, number):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "lenet_lightning")
    with begun(on_fakes, tmp_path, *launcher, *TWO, PLAIN, *FOR_LONG) as torchrun:
        until_epoch_2(torchrun)
        workers = children(torchrun.pid)
        sent = time.monotonic()
        torchrun.send_signal(number)
        assert_gone_within(15, sent, *workers)
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


FOR_LONG = ("--trainer.max_epochs=999", "--data.val_size=50000", "--trainer.limit_val_batches=1")


@contextmanager
def begun(on_fakes, folder, *command):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    environment = on_fakes | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, **pipes) as running:
        try:
            yield running
        finally:
            end_session(running.pid)


@pytest.fixture
def two(on_fakes, tmp_path):
    """The first of two processes that train, and the id of the second."""
    with begun(on_fakes, tmp_path, "-m", "lenet_lightning", *TWO, PLAIN, *FOR_LONG) as first:
        until_epoch_2(first)
        (second,) = children(first.pid)
        yield first, second


def until_epoch_2(running):
    for line in running.stdout:
        if line.startswith("epoch   2/999"):
            return
    raise AssertionError(running.stderr.read())


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def assert_gone_within(limit_s, sent, *pids):
    while any(map(runs_still, pids)) and time.monotonic() - sent < 2 * limit_s:
        time.sleep(0.1)
    assert not any(map(runs_still, pids))
    assert time.monotonic() - sent < limit_s


def runs_still(pid):
    """Whether it is there, and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_16_a_last_batch_with_fewer_digits_than_processes_is_refused(on_fakes, tmp_path):
    code, _, err = run(on_fakes, tmp_path, *TWO, PLAIN, f"--data.val_size={60_000 - 64 * 9 - 1}")
    assert code == 2
    (line,) = set(err.strip().splitlines())
    assert "data.val_size must leave each of 2 processes a sample of the last batch" in line
