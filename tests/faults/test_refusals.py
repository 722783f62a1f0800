"""Invalid settings are refused with exit 2 before a run folder or a W&B run exists, and flags are never overridden."""

import os

import pytest

from lenet_lightning.__main__ import main
from tests.faults.conftest import SHORT, the_run

WANDB = "--trainer.logger+=lenet_lightning.training.loggers.wandb.WandbLogger"

LATE = {
    "bf16-mixed, clipping, fused": (
        ("--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=1"),
        "pass --model.optimizer.fused false",
    ),
    "fraction of training": (
        ("--trainer.limit_train_batches=1e-4",),
        "limit_train_batches must be 1 or more batches",
    ),
    "fraction of validation": (("--trainer.limit_val_batches=0.1",), "limit_val_batches must be 1 or more batches"),
    "fraction of test": (("--trainer.limit_test_batches=0.01",), "limit_test_batches must be 1 or more batches"),
    "no end": (("--trainer.max_epochs=-1",), "trainer.max_epochs must be 1 or more, got -1"),
    "no known end": (
        ("--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:05"),
        "trainer.max_epochs must be 1 or more with model.schedule onecycle, got -1",
    ),
    "no end, null": (("--trainer.max_epochs=null",), "trainer.max_epochs must be 1 or more, got None"),
}


@pytest.mark.parametrize("kind", LATE)
def test_what_cannot_train_is_refused_before_anything_exists(start, tmp_path, kind):
    options, reason = LATE[kind]
    code, out, err = start(tmp_path, "fit", *SHORT, WANDB, *options).wait()
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert reason in line
    assert not list(tmp_path.glob("runs/*"))
    assert not list(tmp_path.glob("**/wandb"))


SENSELESS = {
    "--trainer.gradient_clip_val=-1": "0 or more, got -1",
    "--trainer.gradient_clip_val=.nan": "0 or more, got nan",
    "--trainer.gradient_clip_val=.inf": "0 or more, got inf",
    "--trainer.accumulate_grad_batches=0": "1 or more, got 0",
    "--trainer.accumulate_grad_batches=-1": "1 or more, got -1",
    "--trainer.log_every_n_steps=-1": "0 or more, got -1",
    "--trainer.check_val_every_n_epoch=0": "1 or more, got 0",
    "--trainer.check_val_every_n_epoch=-1": "1 or more, got -1",
    "--trainer.num_sanity_val_steps=-2": "-1 or more, got -2",
    "--trainer.min_epochs=-1": "0 or more, got -1",
    "--trainer.min_epochs=99": "at most trainer.max_epochs, 3, got 99",
    "--trainer.min_steps=-1": "0 or more, got -1",
    "--trainer.max_steps=0": "above 0, got 0",
    "--trainer.max_steps=-2": "You passed in -2",
    "--trainer.val_check_interval=0": "above 0, got 0",
    "--trainer.val_check_interval=-1": "invalid value -1 for val_check_interval",
    "--trainer.limit_train_batches=0": "above 0, got 0",
    "--trainer.limit_train_batches=1.5": "invalid value 1.5 for limit_train_batches",
    "--trainer.limit_val_batches=-1": "invalid value -1 for limit_val_batches",
    "--trainer.overfit_batches=.nan": "invalid value nan for overfit_batches",
    "--trainer.max_time=00:00:00:00": "above 0, got 0 s",
    '--trainer.max_time={"seconds": -5}': "above 0, got -5 s",
    "--trainer.fast_dev_run=-1": "fast_dev_run=-1 is not a valid",
    "--trainer.reload_dataloaders_every_n_epochs=-1": ">= 0, got -1",
    "--model.optimizer.lr=.inf": "lr must be finite, got inf",
    "--model.optimizer.weight_decay=.inf": "weight_decay must be finite, got inf",
    "--model.warmup=.nan": "'.nan'",
    "--data.mean=.nan": "'.nan'",
    "--data.mean=1e300": "v>=-1000000.0 and v<=1000000.0",
    "--data.std=1e-300": "v>=1e-06 and v<=1000000.0",
    "--data.batch_size=60001": "v>0 and v<=60000",
    "--data.split_seed=9223372036854775808": "v<9223372036854775808",
}


@pytest.mark.parametrize("option", SENSELESS)
def test_senseless_numbers_are_refused_before_anything_is_fetched_or_written(tmp_path, monkeypatch, capfd, option):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["fit", *SHORT, "--data.root=fetched", option]) == 2
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert SENSELESS[option] in line
    assert option.split("=")[0].rsplit(".", 1)[1] in line
    assert os.listdir(tmp_path) in ([], ["runs"])
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("epochs", ["-1", "null"])
@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
def test_a_run_by_steps_alone_is_valid(start, tmp_path, epochs, schedule):
    steps = (f"--trainer.max_epochs={epochs}", "--trainer.max_steps=6", f"--model.schedule={schedule}")
    code, out, err = start(tmp_path, "fit", *SHORT, *steps).wait()
    assert (code, err) == (0, "")
    assert "epoch 1" in out
    assert (the_run(tmp_path) / "weights.safetensors").exists()


def test_a_flag_before_the_config_is_not_overridden_by_it(start, tmp_path):
    (tmp_path / "my.yaml").write_text("trainer:\n  max_epochs: 3\n")
    code, out, _ = start(tmp_path, "fit", "--trainer.max_epochs=1", *SHORT[1:], "--config", "my.yaml").wait()
    assert code == 0
    assert "epoch 1/1" in out
    assert "max_epochs: 1" in (the_run(tmp_path) / "config.yaml").read_text()


VARIABLES = [
    {"RANK": "1"},
    {"LOCAL_RANK": "1"},
    {"SLURM_PROCID": "1"},
    {"JSM_NAMESPACE_RANK": "1"},
    {"OMPI_COMM_WORLD_RANK": "1"},
    {"RANK": "0", "WORLD_SIZE": "2"},
    {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
]


@pytest.mark.parametrize("variables", VARIABLES, ids=lambda variables: "+".join(variables))
def test_one_of_many_processes_that_would_train_alone_is_refused(process, tmp_path, variables):
    refused = process("fit", *SHORT, environment=variables)
    out, err = refused.communicate(timeout=90)
    (line,) = err.splitlines()
    assert (refused.returncode, out) == (2, "")
    assert "pass --trainer.devices" in line
    assert all(f"{name}={value}" in line for name, value in variables.items())
    assert not list(tmp_path.glob("runs/*"))
