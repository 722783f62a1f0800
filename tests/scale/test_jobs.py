"""Jobs that are started again, and what Slurm leaves, in one process: the variables are theirs, the cluster is none."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.training.test_cli import the_runs


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")  # Lightning, of the file it took
def test_weights_that_a_slurm_job_left_are_not_counted_as_the_checkpoints(command, quick, monkeypatch):
    command("fit", *quick, "--trainer.max_epochs=2", "--model.schedule=constant", "--data.distortion.end=1")
    (run,) = the_runs()
    shutil.copy(run / "last.ckpt", "runs/hpc_ckpt_1.ckpt")
    last = torch.load(run / "last.ckpt", weights_only=True)
    for name, value in last["state_dict"].items():
        last["state_dict"][name] = torch.zeros_like(value)
    torch.save(last, run / "other.ckpt")
    for name, value in {"JOB_ID": "7", "JOB_NAME": "fit", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_NODEID", "0")
    code, out, err = command("test", f"--ckpt_path={run}/other.ckpt")
    assert (code, "test accuracy" in out) == (1, False)
    assert "other.ckpt: its weights must be those that are counted, others were loaded in their place" in err
    assert "hpc_ckpt_*.ckpt in runs: remove it" in err
    Path("runs/hpc_ckpt_1.ckpt").unlink()
    assert "test accuracy" in command("test", f"--ckpt_path={run}/other.ckpt")[1]


@pytest.mark.parametrize("restarts", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_job_that_was_started_again_goes_on_with_each_of_its_runs(command, quick, monkeypatch, restarts):
    job = {"SLURM_JOB_ID": "7"} if restarts[0] == "S" else {"TORCHELASTIC_MAX_RESTARTS": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    fit = ("fit", *quick, "--model.schedule=constant", "--data.distortion.end=1")
    for seed in (1, 2):
        command(*fit, f"--seed_everything={seed}", "--trainer.max_epochs=1")
    runs = the_runs()
    assert len(runs) == 2
    Path(runs[1], "last.ckpt").unlink()  # as if it had been stopped in its first epoch
    monkeypatch.setenv(restarts, "1")
    assert "epoch 1/2" not in command(*fit, "--seed_everything=1", "--trainer.max_epochs=2")[1]
    assert "epoch 1/2" in command(*fit, "--seed_everything=2", "--trainer.max_epochs=2")[1]
    assert the_runs() == runs
    command(*fit, "--seed_everything=3", "--trainer.max_epochs=1")  # which the job did not reach before
    assert len(the_runs()) == 3
