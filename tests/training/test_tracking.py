"""The real wandb client, without an account."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml

QUICK = ("--trainer.limit_train_batches=3", "--trainer.max_epochs=2", "--trainer.limit_test_batches=0")


@pytest.fixture(autouse=True)
def fresh_client():
    """The client reads the environment once in a process."""
    wandb.teardown()


def the_run():
    (run,) = (path for path in Path("runs").iterdir() if not path.is_symlink())
    return run


def inspect(folder):
    """What `wandb leet` shows of a run, as JSON."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_not_logged_in_means_offline_without_a_question(command, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    monkeypatch.setenv("WANDB_TAGS", "one,two")
    monkeypatch.setenv("WANDB_NAME", "my run")
    code, out, err = command("fit", *QUICK)
    assert (code, err) == (0, "")
    (offline,) = (the_run() / "wandb").glob("offline-run-*")
    assert f"wandb leet {offline}" in out
    assert f"wandb sync {offline}" in out

    seen = inspect(offline)
    text = json.dumps(seen)
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "lr", "time/epoch_s", "time/images_per_s"):
        assert name in text
    for value in ("digits", "one", "two", "my run"):
        assert value in text
    # the whole config is there, not only the network's part of it
    for part in yaml.safe_load((the_run() / "config.yaml").read_text()):
        assert part in text
    assert "weight_decay" in text


def test_disabled_leaves_no_files_and_no_lines(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    code, out, err = command("fit", *QUICK)
    assert (code, err) == (0, "")
    assert "wandb" not in out
    assert not (the_run() / "wandb").exists()


def test_a_malformed_key_is_never_printed_and_no_obstacle(command, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret-but-short")
    code, out, err = command("fit", *QUICK)
    assert code == 0
    assert "malformed" in err
    assert "secret" not in out + err
    assert list((the_run() / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("offline", ["offline", "dryrun"])
def test_a_mode_that_is_asked_for_is_taken(command, monkeypatch, offline):
    monkeypatch.setenv("WANDB_MODE", offline)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert command("fit", *QUICK)[0] == 0
    assert list((the_run() / "wandb").glob("offline-run-*"))
