"""Rows 5 and 6: SIGTERM and Ctrl-C end a training at once, with nothing lost."""

import signal
import time

import pytest

from lenet_lightning.training import runs
from tests.faults.conftest import SHORT, assert_equal_runs, the_run

WANDB = "--trainer.logger+=lenet_lightning.training.tracking.WandbLogger"
TRAINING, VALIDATION = ("slow_batches", 0.5, 32), ("slow_batches", 5.0, 1000)


def ended(running, number, limit_s):
    """What came of a signal: exit code and stderr; it took less than `limit_s`."""
    sent = time.monotonic()
    running.signal(number)
    code, _, err = running.wait(limit_s + 5)
    assert time.monotonic() - sent < limit_s
    assert "Traceback" not in err
    return code, err


def assert_goes_on(start, folder, reference):
    runs.read_checkpoint(the_run(folder) / "last.ckpt")
    assert start(folder, "fit", "--ckpt_path=last").wait()[0] == 0
    assert_equal_runs(the_run(folder), reference())


@pytest.mark.parametrize("fault", [TRAINING, VALIDATION], ids=["training", "validation"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"])
def test_05_06_a_signal_ends_training_and_validation(start, reference, tmp_path, fault, number, code):
    running = start(tmp_path, "fit", *SHORT, fault=fault)
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    if fault == VALIDATION:
        time.sleep(1.0)  # the 6 steps between two validations take a tenth of it
    ending, err = ended(running, number, limit_s=10)
    assert ending == code
    assert err.splitlines()[-1].endswith("what was finished is kept, and goes on with: fit --ckpt_path last")
    assert_goes_on(start, tmp_path, reference)


def test_06_a_second_ctrl_c_ends_at_once_what_hangs(start, reference, tmp_path):
    running = start(tmp_path, "fit", *SHORT, WANDB, "--trainer.max_epochs=99", fault=("hang_at_the_end",))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    running.signal(signal.SIGINT)
    time.sleep(1.0)
    assert running.process.is_alive()
    assert ended(running, signal.SIGINT, limit_s=2)[0] == 130
    runs.read_checkpoint(the_run(tmp_path) / "last.ckpt")


def test_05_sigterm_ends_what_hangs_within_10_seconds(start, tmp_path):
    running = start(tmp_path, "fit", *SHORT, WANDB, "--trainer.max_epochs=99", fault=("hang_at_the_end",))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    assert ended(running, signal.SIGTERM, limit_s=10)[0] == 143
    runs.read_checkpoint(the_run(tmp_path) / "last.ckpt")


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_05_sigterm_ends_an_evaluation(start, tmp_path, verb):
    assert start(tmp_path, "fit", *SHORT, "--trainer.max_epochs=1").wait()[0] == 0
    running = start(tmp_path, verb, "--trainer.limit_test_batches=1.0", fault=VALIDATION)
    time.sleep(2.0)
    code, err = ended(running, signal.SIGTERM, limit_s=10)
    assert (code, err.strip()) == (143, "stopped by SIGTERM")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_05_06_signals_with_the_real_wandb_client(process, tmp_path, number):
    options = [option for option in SHORT if not option.startswith(("--trainer.logger", "--trainer.max_epochs"))]
    run = process("fit", *options, "--trainer.max_epochs=99", environment={"WANDB_MODE": "offline"})
    for line in run.stdout:
        if line.startswith("epoch  2/99"):
            break
    sent = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=30)
    assert time.monotonic() - sent < 10
    assert run.returncode == 128 + number
    assert "Traceback" not in err
    assert "--ckpt_path last" in err
    runs.read_checkpoint(the_run(tmp_path) / "last.ckpt")
