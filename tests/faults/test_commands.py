"""Rows 15 to 17, and 26: what a command line may ask for, and what 50 steps must give."""

import json
import os
from pathlib import Path

import pytest
import torch

from lenet_lightning.training.environment import environment
from tests.faults.conftest import SHORT

GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("tracked", [False, True], ids=["plain", "wandb"])
def test_15_the_same_command_twice_makes_two_runs(process, tmp_path, tracked):
    options = [option for option in SHORT if not (tracked and option.startswith("--trainer.logger"))]
    environment = {"WANDB_MODE": "offline" if tracked else "disabled"}
    both = [process("fit", *options, "--trainer.max_epochs=1", environment=environment) for _ in range(2)]
    for each in both:
        _, err = each.communicate(timeout=90)
        assert (each.returncode, err) == (0, "")
    made = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert len(made) == 2
    assert len({(run / "weights.safetensors").read_bytes() for run in made}) == 1
    for run in made:
        assert (run / "last.ckpt").exists()
        assert bool(list(run.glob("wandb/offline-run-*"))) == tracked


BAD = [
    "--nonsense=1",
    "--trainer.max_epoch=1",
    "--trainer.max_epochs=many",
    "--model.optimizer.lr=-1",
    "--data.batch_size=0",
    "--data.val_size=60000",
    "--config=missing.yaml",
]


@pytest.mark.parametrize("option", BAD)
def test_16_what_cannot_be_is_told_in_a_few_lines(start, tmp_path, option):
    code, out, err = start(tmp_path, "fit", option).wait()
    assert (code, out) == (2, "")
    assert 1 <= len(err.splitlines()) <= 5
    assert not list(tmp_path.glob("runs/*"))


def test_16_what_cannot_be_is_told_in_seconds(process):
    run = process("fit", "--data.batch_size=0")
    run.stdout.read()
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 2
    assert used.ru_utime + used.ru_stime < 10  # of the processor: the machine may be busy with other things


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += task.read_text().split()
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("--trainer.devices=99",),
        ("--trainer.devices=99", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"),
        ("--trainer.devices=99", "--trainer.strategy=ddp_spawn"),
        ("--trainer.accelerator=gpu",),
        ("--trainer.accelerator=gpu", "--trainer.devices=2"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_17_devices_that_are_not_there_start_no_process(start, tmp_path, verb, options):
    if "--trainer.accelerator=gpu" in options and torch.accelerator.is_available():
        pytest.skip("this machine has one")
    running = start(tmp_path, "fit", *SHORT, "--trainer.max_epochs=1")
    assert running.wait()[0] == 0
    running = start(tmp_path, verb, *options)
    started = []
    running.until(lambda: started.extend(children(running.process.pid)))
    code, _, err = running.wait()
    assert (code, started) == (2, [])
    (line,) = err.splitlines()
    assert "trainer.devices must be at most" in line or "trainer.accelerator must be" in line


def test_26_golden_run_of_50_steps(start, tmp_path):
    """`GOLDEN=write` in the environment stores what this machine gives."""
    options = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=50", "--trainer.limit_val_batches=0")
    watched = ("--trainer.callbacks=tests.faults.noise.Losses", "--data.distortion.end=1")  # or it weakens at once
    assert start(tmp_path, "fit", *SHORT, *options, *watched, noise=False).wait()[0] == 0
    losses = [float.fromhex(line) for line in (tmp_path / "losses").read_text().split()]
    assert len(losses) == 50
    here = {
        "processor": environment()["processor"].split(",")[0],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(here | {"losses": losses}, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    if {name: golden.get(name) for name in here} == here:
        assert losses == golden["losses"]
    else:
        assert losses == pytest.approx(golden["losses"], abs=1e-5)
