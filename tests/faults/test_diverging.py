"""Row 10: a loss that is not finite ends the run, and nothing of it is kept."""

import pytest
import torch

from lenet_lightning.training import checkpoints
from tests.faults.conftest import SHORT, rows, the_run


def assert_finite(run, epochs):
    for name in ("last.ckpt", "best.ckpt"):
        checkpoint = checkpoints.read_checkpoint(run / name)
        assert all(values.isfinite().all() for values in checkpoint["state_dict"].values())
        assert checkpoint["epoch"] < epochs
    kept = [value for row in rows(run) for value in row.values() if value]
    assert torch.tensor([float(value) for value in kept]).isfinite().all()
    assert [row["epoch"] for row in rows(run)] == [str(epoch + 1) for epoch in range(epochs)]
    assert not (run / "weights.safetensors").exists()


@pytest.mark.parametrize("step", [13, 15, 18], ids=["first", "middle", "last"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_10_a_loss_that_is_not_finite_ends_the_run_at_its_step(start, tmp_path, step, value):
    code, _, err = start(tmp_path, "fit", *SHORT, fault=("break_loss", step, value)).wait()
    (line,) = err.splitlines()
    assert code == 1
    for part in (f"at step {step} ", "epoch 3", "learning rate ", "last.ckpt", "model.optimizer.lr"):
        assert part in line
    assert_finite(the_run(tmp_path), epochs=2)


def test_10_in_the_first_epoch_there_is_no_checkpoint_yet(start, tmp_path):
    code, _, err = start(tmp_path, "fit", *SHORT, fault=("break_loss", 2, "nan")).wait()
    assert code == 1
    assert "at step 2 " in err
    assert "there is no good checkpoint yet" in err
    assert {path.name for path in the_run(tmp_path).iterdir()} == {"config.yaml"}


@pytest.mark.parametrize(("step", "named"), [(15, 16), (18, 18)], ids=["middle", "last"])
@pytest.mark.parametrize("validating", [True, False])
def test_10_weights_that_are_not_finite_are_neither_validated_nor_kept(start, tmp_path, step, named, validating):
    options = () if validating else ("--trainer.limit_val_batches=0",)
    code, _, err = start(tmp_path, "fit", *SHORT, *options, fault=("break_weights", step)).wait()
    assert code == 1
    assert f"at step {named} " in err
    if validating:
        assert_finite(the_run(tmp_path), epochs=2)
    else:
        assert checkpoints.read_checkpoint(the_run(tmp_path) / "last.ckpt")["epoch"] == 1


@pytest.mark.parametrize("step", [13, 15, 18], ids=["first", "middle", "last"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_10_on_a_gpu_the_epochs_end_names_the_step(start, tmp_path, step, value):
    gpu = torch.cuda.is_available()
    options = ("--trainer.accelerator=gpu", "--trainer.devices=1") if gpu else ()
    fault = ("break_loss" if gpu else "break_loss_on_a_device", step, value)
    code, _, err = start(tmp_path, "fit", *SHORT, *options, fault=fault).wait()
    assert code == 1
    assert f"at step {step} (epoch 3" in err
    assert_finite(the_run(tmp_path), epochs=2)
