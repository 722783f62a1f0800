"""Rows 7 to 9: what is written is whole, where it should be, and the right epoch."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lenet_lightning.training import checkpoints
from lenet_lightning.training.cli import CLI
from tests.faults.conftest import CONSTANT, SHORT, assert_equal_runs, rows, the_run


@pytest.fixture
def small_disk(tmp_path):
    """The folder of runs, a file system of 8 MB on another device than the temporary folder."""
    disk = tmp_path / "runs"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    assert disk.stat().st_dev != Path(tempfile.gettempdir()).stat().st_dev
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk, but_for):
    """Use up all space of `disk` but this many bytes; the file that does."""
    filler = disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - but_for))
    return filler


# a checkpoint has 1.0 MB: a disk that fills up during a run, and one that is full from the start
@pytest.mark.parametrize(
    ("but_for", "said"), [(600_000, "best.ckpt: cannot be written"), (0, "must be writable to resume this run")]
)
def test_07_a_full_disk_ends_the_run_and_harms_nothing(start, reference, tmp_path, small_disk, but_for, said):
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()[0] == 0
    run = the_run(tmp_path)
    kept = ("last.ckpt", "best.ckpt", "metrics.csv", "config.yaml", "weights.safetensors")
    before = {each: (run / each).read_bytes() for each in kept}
    filler = fill(small_disk, but_for)
    code, _, err = start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_epochs=3").wait()
    (line,) = err.splitlines()
    assert code == 1
    assert said in line
    assert "No space left" in line
    assert {path.name for path in run.iterdir()} == set(kept)
    for each in ("last.ckpt", "best.ckpt", "weights.safetensors"):
        assert (run / each).read_bytes() == before[each]
    filler.unlink()
    assert start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_epochs=3").wait()[0] == 0
    assert_equal_runs(run, reference(*CONSTANT))


@pytest.fixture
def not_writable():
    """A folder that nobody but root can write to, and that all can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_08_an_unwritable_folder_ends_the_command_before_the_first_step(start, not_writable):
    code, out, err = start(not_writable, "fit", *SHORT, fault=("as_nobody",)).wait()
    (line,) = err.splitlines()
    assert (code, out) == (1, "")
    assert line.startswith("error: runs: the folder for runs must be writable")
    assert not (not_writable / "runs").exists()


def test_08_a_run_that_became_unwritable_is_not_resumed(start, not_writable):
    assert start(not_writable, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()[0] == 0
    run = the_run(not_writable)
    before = {path: path.read_bytes() for path in run.iterdir()}
    resume = ("fit", "--ckpt_path=last", "--trainer.max_epochs=3")
    code, out, err = start(not_writable, *resume, fault=("as_nobody",)).wait()
    (line,) = err.splitlines()
    assert (code, out) == (1, "")
    assert "must be writable to resume this run" in line
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_09_last_is_the_last_epoch_and_best_the_best(start, tmp_path):
    spoilt = ("--trainer.callbacks=tests.faults.noise.Spoil", "--trainer.max_epochs=4")
    assert start(tmp_path, "fit", *SHORT, *spoilt).wait()[0] == 0
    run = the_run(tmp_path)
    accuracies = [float(row["val/acc"]) for row in rows(run)]
    assert accuracies.index(max(accuracies)) == 0
    last, best = (checkpoints.read_checkpoint(run / f"{name}.ckpt") for name in ("last", "best"))
    assert (last["epoch"], best["epoch"]) == (3, 0)


def test_09_a_run_that_was_moved_still_knows_its_best(start, tmp_path):
    spoilt = ("--trainer.callbacks=tests.faults.noise.Spoil", *CONSTANT, "--trainer.max_epochs=2")
    assert start(tmp_path, "fit", *SHORT, *spoilt).wait()[0] == 0
    moved = the_run(tmp_path).rename(tmp_path / "runs" / "29990101-000000-moved")
    best = (moved / "best.ckpt").read_bytes()
    config = f"--config={the_run(tmp_path)}/config.yaml"  # it names what is not taken unasked
    code, _, err = start(tmp_path, "fit", config, "--ckpt_path=last", "--trainer.max_epochs=3").wait()
    assert (code, err) == (0, "")
    assert (moved / "best.ckpt").read_bytes() == best
    assert checkpoints.read_checkpoint(moved / "last.ckpt")["epoch"] == 2


class Theirs(TorchCheckpointIO):
    """A plugin that the user brings."""


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ((), checkpoints.WholeCheckpoints),
        (("--trainer.plugins=lightning.pytorch.plugins.TorchSyncBatchNorm",), checkpoints.WholeCheckpoints),
        (("--trainer.plugins=tests.faults.test_checkpoints.Theirs",), Theirs),
    ],
)
def test_07_checkpoints_are_written_by_our_plugin_unless_the_user_has_one(command, quick, monkeypatch, options, used):
    made = []
    monkeypatch.setattr(CLI, "fit", lambda self, **_: made.append(self.trainer.strategy.checkpoint_io))
    assert command("fit", *quick, *options)[0] == 0
    assert type(made[0]) is used


# point 1 of the second round: no path in a checkpoint is ever used

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def aim(path, victim, dirpath):
    """Let every path in the states of a checkpoint's callbacks be `victim`."""
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["callbacks"].values():
        bad = torch.tensor(-1.0)
        state |= dict.fromkeys(PATHS, victim) | dict.fromkeys(("best_model_score", "kth_value", "current_score"), bad)
        state |= {"best_k_models": {victim: bad}, "dirpath": dirpath}
    checkpoint["callbacks"] |= {
        name.replace("_KeptInRun", "ModelCheckpoint"): state for name, state in checkpoint["callbacks"].items()
    }
    torch.save(checkpoint, path)


@pytest.fixture
def victim(tmp_path):
    """A folder of the user's, with a checkpoint in it."""
    folder = tmp_path / "victim"
    (folder / "deep").mkdir(parents=True)
    for name in ("thesis.txt", "deep/photo.jpg", "best.ckpt"):
        (folder / name).write_text("ten years of work")
    yield folder
    assert {path.name for path in folder.rglob("*")} == {"thesis.txt", "deep", "photo.jpg", "best.ckpt"}


@pytest.mark.parametrize("of", ["victim", "victim/best.ckpt"])
@pytest.mark.parametrize("run_is_link", [False, True])
def test_a_checkpoint_removes_nothing_when_it_is_resumed(start, tmp_path, victim, of, run_is_link):
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()[0] == 0
    run = the_run(tmp_path)
    if run_is_link:
        run.rename(tmp_path / "disk")
        run.symlink_to(tmp_path / "disk", target_is_directory=True)
    for name in ("last.ckpt", "best.ckpt"):
        aim(run / name, f"../../{of}", "")
    code, _, _ = start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_epochs=3").wait()
    assert code == 0
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]
    assert checkpoints.read_checkpoint(run / "last.ckpt")["epoch"] == 2


@pytest.mark.parametrize("of", ["victim", "victim/best.ckpt"])
def test_a_checkpoint_removes_nothing_through_a_callback_of_the_users(start, tmp_path, victim, of):
    theirs = (
        "--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.dirpath=theirs",
        "--trainer.callbacks.monitor=val/acc",
        "--trainer.callbacks.mode=max",
    )
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, *theirs, "--trainer.max_epochs=1").wait()[0] == 0
    run = the_run(tmp_path)
    (kept,) = (tmp_path / "theirs").iterdir()
    aim(run / "last.ckpt", f"{tmp_path}/theirs/../{of}", str(tmp_path / "theirs"))
    config = f"--config={the_run(tmp_path)}/config.yaml"  # it names what is not taken unasked
    code, _, err = start(tmp_path, "fit", config, "--ckpt_path=last", "--trainer.max_epochs=2").wait()
    assert code == 0
    assert "ModelCheckpoint ranks from here on, and leaves its earlier files" in err
    assert kept.exists()
    assert len(list((tmp_path / "theirs").iterdir())) == 2


def test_no_checkpoint_holds_a_path(start, tmp_path):
    assert start(tmp_path, "fit", *SHORT, "--trainer.max_epochs=1").wait()[0] == 0
    for name in ("last.ckpt", "best.ckpt"):
        states = checkpoints.read_checkpoint(the_run(tmp_path) / name)["callbacks"]
        assert [list(state) for key, state in states.items() if "_KeptInRun" in key] == [["best_model_score"]]


def test_a_link_in_the_place_of_a_checkpoint_is_replaced_and_not_followed(start, tmp_path):
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()[0] == 0
    run = the_run(tmp_path)
    before = {}
    for name in ("last.ckpt", "best.ckpt"):
        target = (run / name).rename(tmp_path / name)
        (run / name).symlink_to(target)
        before[target] = target.read_bytes()
    assert start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_epochs=3").wait()[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert not (run / "last.ckpt").is_symlink()


def test_only_a_checkpoint_file_is_removed(tmp_path):
    (tmp_path / "folder.ckpt" / "deep").mkdir(parents=True)
    (tmp_path / "thesis.txt").write_text("x")
    (tmp_path / "real.ckpt").write_text("x")
    (tmp_path / "link.ckpt").symlink_to("real.ckpt")
    (tmp_path / "dangling.ckpt").symlink_to("none")
    everything = sorted(os.listdir(tmp_path))
    for name in ("folder.ckpt", "thesis.txt", "link.ckpt", "dangling.ckpt", "none.ckpt", "."):
        checkpoints.WholeCheckpoints().remove_checkpoint(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == everything
    checkpoints.WholeCheckpoints().remove_checkpoint(str(tmp_path / "real.ckpt"))
    assert not (tmp_path / "real.ckpt").exists()
