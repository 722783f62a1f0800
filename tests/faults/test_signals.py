"""Rows 5 and 6: SIGTERM, Ctrl-C and a closed terminal end any command at once, with nothing lost."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from lenet_lightning.training import checkpoints
from tests.faults.conftest import SHORT, assert_equal_runs, the_run

WANDB = "--trainer.logger+=lenet_lightning.training.loggers.wandb.WandbLogger"
ADVICE = "finished epochs are kept; resume with: fit --ckpt_path last"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["term", "int", "hup"])
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
    checkpoints.read_checkpoint(the_run(folder) / "last.ckpt")
    assert start(folder, "fit", "--ckpt_path=last").wait()[0] == 0
    assert_equal_runs(the_run(folder), reference())


@pytest.mark.parametrize("fault", [TRAINING, VALIDATION], ids=["training", "validation"])
@SIGNALS
def test_05_06_a_signal_ends_training_and_validation(start, reference, tmp_path, fault, number):
    running = start(tmp_path, "fit", *SHORT, fault=fault)
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    if fault == VALIDATION:
        time.sleep(1.0)  # the 6 steps between two validations take a tenth of it
    ending, err = ended(running, number, limit_s=10)
    assert ending == 128 + number
    how = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    assert err.splitlines()[-1] == f"{how}; {ADVICE}"
    assert_goes_on(start, tmp_path, reference)


def test_06_a_second_ctrl_c_ends_at_once_what_hangs(start, reference, tmp_path):
    running = start(tmp_path, "fit", *SHORT, WANDB, "--trainer.max_epochs=99", fault=("hang_at_the_end",))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    running.signal(signal.SIGINT)
    time.sleep(1.0)
    assert running.process.is_alive()
    assert ended(running, signal.SIGINT, limit_s=2)[0] == 130
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


def test_05_sigterm_ends_what_hangs_within_10_seconds(start, tmp_path):
    running = start(tmp_path, "fit", *SHORT, WANDB, "--trainer.max_epochs=99", fault=("hang_at_the_end",))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    assert ended(running, signal.SIGTERM, limit_s=10)[0] == 143
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_05_sigterm_ends_an_evaluation(start, tmp_path, verb):
    assert start(tmp_path, "fit", *SHORT, "--trainer.max_epochs=1").wait()[0] == 0
    running = start(tmp_path, verb, "--trainer.limit_test_batches=1.0", fault=VALIDATION)
    time.sleep(2.0)
    code, err = ended(running, signal.SIGTERM, limit_s=10)
    assert (code, err.strip()) == (143, "stopped by SIGTERM")


@SIGNALS
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
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


def test_05_a_run_that_kept_nothing_is_not_advised_to_resume(start, tmp_path):
    running = start(tmp_path, "fit", *SHORT, fault=TRAINING)
    assert running.until(lambda: list(tmp_path.glob("runs/2*/config.yaml")))
    code, err = ended(running, signal.SIGTERM, limit_s=10)
    assert (code, err.strip()) == (143, "stopped by SIGTERM")


@SIGNALS
@pytest.mark.parametrize("times", [1, 2])
def test_16_a_signal_ends_what_hangs_in_c(start, tmp_path, number, times):
    running = start(tmp_path, "fit", *SHORT, fault=("hang_in_c", 8))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    time.sleep(1.0)
    if times == 2:
        running.signal(number)
        time.sleep(1.0)
        assert running.process.is_alive()
    assert ended(running, number, limit_s=10 if times == 1 else 2)[0] == 128 + number
    checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")


def test_16_a_signal_sent_twice_at_once_counts_once(start, tmp_path):
    running = start(tmp_path, "fit", *SHORT, WANDB, "--trainer.max_epochs=99", fault=("slow_goodbye", 1.0))
    assert running.until(lambda: list(tmp_path.glob("runs/2*/last.ckpt")))
    running.signal(signal.SIGTERM)
    code, err = ended(running, signal.SIGTERM, limit_s=10)  # as `timeout` does
    assert code == 143
    assert err.splitlines()[-1] == f"stopped by SIGTERM; {ADVICE}"
    assert (tmp_path / "out").read_text().splitlines()[-1] == "closed"


@pytest.mark.parametrize("ignored", ["HUP", "INT"])
def test_16_what_is_ignored_from_the_start_stays_ignored(on_fakes, tmp_path, ignored):
    """As with nohup, and in the background of a shell."""
    with begun(on_fakes, tmp_path, "fit", *SHORT, ignoring=ignored) as running:
        for line in running.stdout:
            if line.startswith("epoch 1/3"):
                break
        running.send_signal(getattr(signal, f"SIG{ignored}"))
        _, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (0, "")
    assert (the_run(tmp_path) / "weights.safetensors").exists()


STUCK = """
import sys
from pathlib import Path
from lenet_lightning.__main__ import main
import lenet_lightning.{module}
from tests.faults import injected

def stuck(*_, **__):
    print("stuck", flush=True)
    {how}

lenet_lightning.{module}.{name} = stuck
sys.exit(main(sys.argv[1:]))
"""
LIGHT = {
    "predict": ("inference.reading", "_here", ("predict", "a.png")),
    "export": ("inference.export", "_difference", ("export", "--format", "pth")),
    "describe": ("historical.describe", "_table", ("describe",)),
}


@SIGNALS
@pytest.mark.parametrize("command", LIGHT)
def test_16_a_signal_ends_a_light_command_with_nothing_left(on_fakes, tmp_path, command, number):
    module, name, args = LIGHT[command]
    (tmp_path / "a.png").touch()
    before = sorted(tmp_path.rglob("*"))
    how = "import time; time.sleep(100)"
    with begun(on_fakes, tmp_path, *args, script=STUCK.format(module=module, name=name, how=how)) as running:
        assert running.stdout.readline() == "stuck\n"
        sent = time.monotonic()
        running.send_signal(number)
        _, err = running.communicate(timeout=20)
        assert time.monotonic() - sent < 5
        assert running.returncode == 128 + number
        assert [line for line in err.splitlines() if not line.startswith("weights ")] == []
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts) == before


@pytest.mark.parametrize("times", [1, 2])
def test_16_a_signal_ends_a_light_command_that_hangs_in_c(on_fakes, tmp_path, times):
    (tmp_path / "a.png").touch()
    script = STUCK.format(module="inference.reading", name="_here", how="injected.never_return()")
    with begun(on_fakes, tmp_path, "predict", "a.png", script=script) as running:
        assert running.stdout.readline() == "stuck\n"
        for _ in range(times):
            time.sleep(1.0)  # the first must find it in C: one that came before ends it otherwise
            assert running.poll() is None
            sent = time.monotonic()
            running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 143
        assert time.monotonic() - sent < (10 if times == 1 else 2)


@contextmanager
def begun(on_fakes, folder, *args, ignoring="", script=None):
    """Start a command line with the signals as a shell leaves them, but for one."""
    launcher = ["-c", script] if script else ["-m", "lenet_lightning"]
    ignore = f"trap '' {ignoring}; " if ignoring else ""
    command = ["sh", "-c", f'{ignore}exec "$@"', "sh", sys.executable, *launcher, *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=on_fakes | {"OMP_NUM_THREADS": "1"}, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()
