"""A job that Slurm warns, stops and starts again is one run, and its test figure is that of its best checkpoint."""

import json
import os
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lenet_lightning.training import checkpoints
from tests.faults.conftest import differences, rows, the_run
from tests.scale.slurm import FIT

pytestmark = [pytest.mark.scale, pytest.mark.timeout(400)]


def results(run):
    found = json.loads((run / "results.json").read_text())
    del found["train_seconds"]
    return found


def test_a_job_that_is_preempted_twice_is_one_run_as_if_it_never_was(slurm, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = slurm(*FIT, "--trainer.default_root_dir=whole")
    whole.wait()
    printed = whole.printed()
    stopped = slurm(*FIT, environment={"WANDB_MODE": "offline"}, options=["--requeue"])
    for epoch in ("epoch 1/4", "epoch 3/4"):
        stopped.until_printed(epoch, times=printed.count(epoch) + 1)
        stopped.warn()
        stopped.start_again()
    stopped.wait()
    run = the_run(tmp_path)
    (reference,) = (path for path in (tmp_path / "whole").iterdir() if not path.is_symlink())
    assert run.name.endswith(f"-slurm{stopped.id}")
    for name in ("last.ckpt", "best.ckpt"):
        found = differences(*(checkpoints.read_checkpoint(each / name) for each in (run, reference)))
        assert [each for each in found if "wandb_id" not in each] == []
    assert rows(run) == rows(reference)
    assert results(run) == results(reference)
    assert (run / "weights.safetensors").read_bytes() == (reference / "weights.safetensors").read_bytes()
    assert not list(run.glob("hpc_ckpt*"))
    ids = {path.name.rpartition("-")[2] for path in run.glob("wandb/offline-run-*")}
    assert len(ids) == 1


def test_a_job_that_is_warned_and_not_requeued_goes_on_and_tests_its_best_checkpoint(slurm, tmp_path):
    # after the first epoch each one forgets everything: best and last are unlike each other
    job = slurm(*FIT, "--trainer.callbacks+=tests.faults.noise.Spoil", options=["--no-requeue"])
    job.until_printed("epoch 2/4")
    job.warn()
    job.wait()
    assert "does not requeue it" in job.complained()
    run = the_run(tmp_path)
    assert not list(run.glob("hpc_ckpt*"))
    best, kept = checkpoints.read_checkpoint(run / "best.ckpt"), load_file(run / "weights.safetensors")
    assert best["epoch"] == 0
    assert all(bool((kept[name] == best["state_dict"][f"network.{name}"]).all()) for name in kept)
    assert f"test accuracy {results(run)['test/acc']:.2%}" in job.printed()
    assert results(run)["test/acc"] > 0.5


def busy_ms(command):
    """The processor time of each process with this command line, in milliseconds."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().startswith(command):
                user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                yield 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        except (OSError, UnicodeDecodeError):
            continue


def test_a_warning_before_the_training_does_not_kill(slurm):
    job = slurm(*FIT, options=["--no-requeue"])
    job.slurm.until(lambda: any(300 < ms < 1500 for ms in busy_ms(f"{sys.executable} -m lenet_lightning fit")))
    job.warn()  # imports take seconds
    job.wait()
    assert "does not requeue it" in job.complained()


def test_an_array_of_four_is_four_runs(slurm, tmp_path):
    job = slurm(*FIT, "--trainer.max_epochs=1", "--seed_everything=$SLURM_ARRAY_TASK_ID", options=["--array=1-4"])
    job.wait(limit_s=300)
    runs = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert {results(run)["seed"] for run in runs} == {1, 2, 3, 4}
    assert len({run.name.rpartition("-")[2] for run in runs}) == len(runs) == 4


def test_two_nodes_are_one_run(slurm, tmp_path):
    job = slurm(*FIT, "--trainer.max_epochs=1", "--trainer.num_nodes=2", options=["--nodes=2", "--ntasks-per-node=1"])
    job.wait()
    assert results(the_run(tmp_path))["processes"] == 2
    assert job.printed().count("epoch 1/1") == 1
