"""A run that begins with trained weights, and another recipe than theirs."""

import shutil
from pathlib import Path

import pytest
import torch

from lenet_lightning import LeNet5, weights
from lenet_lightning.__main__ import main
from tests.training.conftest import command, on_fakes, process, quick  # noqa: F401
from tests.training.test_cli import TESTED, the_runs

pytestmark = pytest.mark.usual

# the rate 0 leaves the weights as they were
STILL = (
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0",
    "--model.schedule=constant",
    "--data.distortion.end=1",
    "--trainer.max_epochs=1",
)


def state(path):
    return weights.read(path)[0]


def equal(some, others):
    return all(torch.equal(some[name], others[name]) for name in some)


@pytest.fixture
def trained(command, quick):  # noqa: F811
    assert command("fit", *quick, "--trainer.max_epochs=1")[0] == 0
    (run,) = the_runs()
    assert main(["export", "--format=pth", "--output=w.pth"]) == 0
    return run


@pytest.mark.parametrize("averaging", ["0", "0.9"])
@pytest.mark.parametrize("file", ["weights.safetensors", "best.ckpt", "../../w.pth"])
def test_a_run_begins_with_them(command, quick, trained, file, averaging):  # noqa: F811
    asked = (f"--model.weights={trained / file}", f"--averaging={averaging}")
    code, _, err = command("fit", *quick, *STILL, *asked)
    assert (code, err) == (0, "")
    run = the_runs()[1]
    assert equal(state(run / "weights.safetensors"), state(trained / "weights.safetensors"))
    assert equal(state(run / "last.ckpt"), state(trained / "weights.safetensors"))


def test_two_processes_begin_with_them(process, quick, tmp_path):  # noqa: F811
    asked = (f"--model.weights={weights.SHIPPED}", "--trainer.accelerator=cpu", "--trainer.devices=2")
    begun = process("fit", *quick, *STILL, *asked, "--averaging=0.9")
    _, err = begun.communicate(timeout=100)
    assert (begun.returncode, err) == (0, "")
    assert equal(state(next(tmp_path.glob("runs/2*/weights.safetensors"))), state(weights.SHIPPED))


def test_a_resumed_run_goes_on_from_its_own_checkpoint(command, quick, trained):  # noqa: F811
    recipe = (
        "--model.optimizer=SGD",
        "--model.optimizer.lr=0.001",
        "--model.schedule=constant",
        "--data.distortion.end=1",
    )
    begun = ("fit", *quick, *recipe, "--model.weights=w.pth")
    command(*begun, "--trainer.max_epochs=2")
    command(*begun, "--trainer.max_epochs=1", "--trainer.default_root_dir=other")
    Path("w.pth").rename("moved.pth")
    resumed = next(Path("other").glob("2*"))
    code, _, err = command("fit", f"--ckpt_path={resumed / 'last.ckpt'}", "--trainer.max_epochs=2")
    assert (code, err) == (0, "")
    assert equal(state(resumed / "weights.safetensors"), state(the_runs()[1] / "weights.safetensors"))
    texts = [(run / "config.yaml").read_text() for run in (resumed, the_runs()[1])]
    assert all("  weights: w.pth\n" in text for text in texts)  # passed with --config, it gives the run again
    code, _, err = command("fit", f"--ckpt_path={resumed / 'last.ckpt'}", "--model.weights=moved.pth")
    assert code == 2
    assert "model.weights must be w.pth, got moved.pth to resume from" in err
    options = ("--config", resumed / "config.yaml", "--ckpt_path", resumed / "last.ckpt", TESTED)
    for verb in ("validate", "test"):
        assert command(verb, *options)[::2] == (0, "")


def lenet1():
    torch.save(weights.NETWORKS["lenet1"]().state_dict(), "w.pth")


def wider():
    torch.save(LeNet5().state_dict() | {"linear3.weight": torch.zeros(11, 84)}, "w.pth")


def damaged():
    Path("w.pth").write_text("no weights")


@pytest.mark.parametrize(
    ("make", "exit_code", "said"),
    [
        (lenet1, 2, "w.pth: must have weights of LeNet5, has those of LeNet1"),
        (wider, 2, "w.pth: does not fit LeNet5: linear3.weight must be (10, 84), got (11, 84)"),
        (lambda: None, 2, "w.pth: no such weights file"),
        (damaged, 1, "w.pth: cannot be loaded"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_begins(command, quick, make, exit_code, said):  # noqa: F811
    make()
    code, out, err = command("fit", *quick, "--model.weights=w.pth")
    assert (code, out, len(err.splitlines())) == (exit_code, "", 1)
    assert said in err
    assert the_runs() == []


def test_a_home_folder_is_expanded(command, quick, tmp_path):  # noqa: F811
    shutil.copy(weights.SHIPPED, tmp_path / "home" / "w.safetensors")
    assert command("fit", *quick, *STILL, "--model.weights=~/w.safetensors")[0] == 0
    assert equal(state(the_runs()[0] / "weights.safetensors"), state(weights.SHIPPED))
