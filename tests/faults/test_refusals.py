"""Invalid settings are refused with exit 2 before a run folder or a W&B run exists, and flags are never overridden."""

import pytest

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
