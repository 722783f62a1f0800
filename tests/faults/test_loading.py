"""Rows 11 to 14: nothing in a checkpoint is run, what does not fit is named, what is not there is not trained anew."""

import os
import shutil

import pytest
import torch

from lenet_lightning.__main__ import main
from lenet_lightning.training import checkpoints
from tests.faults.conftest import CONSTANT, SHORT, differences, the_run

# each command that loads a checkpoint, with the checkpoint's name to come
COMMANDS = {
    "fit": ("fit", "--data.root=data", "--ckpt_path"),
    "validate": ("validate", "--data.root=data", "--ckpt_path"),
    "test": ("test", "--data.root=data", "--ckpt_path"),
    "predict": ("predict", "digit.png", "--weights"),
    "export": ("export", "--format=pth", "--weights"),
}
every_command = pytest.mark.parametrize("verb", COMMANDS)


@pytest.fixture
def run_line(fake_mnist, tmp_path, monkeypatch, capfd):
    """Run a command line in a folder of the test's own: (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "data").symlink_to(fake_mnist)
    (tmp_path / "digit.png").touch()

    def run(*args):
        code = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        print(out, err)
        return code, err

    return run


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


@every_command
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("forced", [False, True])
def test_11_a_malicious_pickle_is_not_run(run_line, tmp_path, monkeypatch, verb, nested, forced):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    whole = {"state_dict": {}, "epoch": 0, "training_seconds": 0.0, "hyper_parameters": {"averaging": Evil()}}
    torch.save(whole if nested else Evil(), "evil.ckpt")
    code, err = run_line(*COMMANDS[verb], "evil.ckpt")
    (line,) = err.splitlines()
    assert code == 1
    assert "evil.ckpt: cannot be loaded" in line
    assert "weights_only" not in line  # no advice to switch the check off
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("verb", ["fit", "validate", "predict", "export"])
def test_11_hyper_parameters_that_name_code_are_ignored(start, tmp_path, verb):
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=1").wait()[0] == 0
    path = the_run(tmp_path) / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    code = "tests.faults.injected.touch"
    checkpoint["hyper_parameters"] |= {"_instantiator": code, "_class_path": code, "class_path": code}
    checkpoint |= {"hparams_name": code, "hyper_parameters_type": code, "_instantiator": code}
    checkpoint["datamodule_hyper_parameters"] = {"_instantiator": code, "_class_path": code}
    torch.save(checkpoint, path)
    if verb == "predict":
        from PIL import Image

        Image.new("L", (28, 28)).save(tmp_path / "digit.png")
    args = (*COMMANDS[verb], str(path)) if verb in ("predict", "export") else (verb, "--ckpt_path", str(path))
    running = start(tmp_path, *args, *(("--trainer.max_epochs=2",) if verb == "fit" else ()))
    assert running.wait()[0] == 0
    assert not (tmp_path / "executed").exists()


@every_command
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "other network", "other shapes"])
def test_12_a_damaged_or_foreign_checkpoint_is_named(run_line, tmp_path, verb, kind):
    from lenet_lightning import DigitClassifier

    state = DigitClassifier().state_dict()
    if kind == "other network":
        state = {"layer.weight": torch.zeros(1)}
    if kind == "other shapes":
        state["network.conv1.weight"] = torch.zeros(20, 1, 5, 5)
    path = tmp_path / "given.ckpt"
    torch.save({"state_dict": state, "epoch": 0, "training_seconds": 0.0}, path)
    whole = path.read_bytes()
    damaged = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no checkpoint\n"}
    path.write_bytes(damaged.get(kind, whole))
    code, err = run_line(*COMMANDS[verb], path)
    (line,) = err.splitlines()
    assert code == 1
    assert "given.ckpt" in line
    if kind.startswith("other"):
        assert "conv1.weight" in line


@every_command
@pytest.mark.parametrize("missing", ["none.ckpt", "https://example.org/last.ckpt"])
def test_13_a_checkpoint_that_is_not_there_is_exit_2(run_line, tmp_path, verb, missing):
    code, err = run_line(*COMMANDS[verb], missing)
    assert (code, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("args", [("fit", "--ckpt_path=last"), ("fit", "--ckpt_path=best"), ("validate",), ("test",)])
def test_13_without_a_run_nothing_is_gone_on_with_or_evaluated(run_line, tmp_path, args):
    code, err = run_line(*args)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "no run with a" in err
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def finished(reference):
    """Runs of 3 epochs: one-cycle, and at a constant rate: so, with a weakening distortion, with a frozen layer."""
    return {
        "onecycle": reference(),
        "constant": reference(*CONSTANT),
        "weakens": reference("--model.schedule=constant"),
        "freezes": reference(
            *CONSTANT, "--trainer.callbacks=lenet_lightning.FrozenFirstLayer", "--trainer.callbacks.after=0.5"
        ),
    }


REFUSED = [
    ("constant", "--model.optimizer.init_args.lr=0.5", "model.optimizer.init_args.lr must be 0.01, got 0.5"),
    ("constant", "--model.optimizer=SGD", "model.optimizer.class_path must be torch.optim.AdamW"),
    ("constant", "--model.label_smoothing=0.3", "model.label_smoothing must be 0.0, got 0.3"),
    ("constant", "--model.schedule=onecycle", "model.schedule must be constant, got onecycle"),
    ("constant", "--seed_everything=7", "seed_everything must be 1, got 7"),
    ("constant", "--data.val_size=5000", "data.val_size must be 1000, got 5000"),
    ("constant", "--data.split_seed=3", "data.split_seed must be 0, got 3"),
    ("constant", "--data.batch_size=64", "data.batch_size must be 32, got 64"),
    ("constant", "--data.distortion.elastic=0", "data.distortion.elastic must be 0.6, got 0.0"),
    ("constant", "--trainer.max_epochs=2", "trainer.max_epochs must be 3 or more"),
    ("constant", "--trainer.max_steps=99", "trainer.max_steps must be left out"),
    *(
        (run, "--trainer.max_epochs=4", "cannot be lengthened or shortened")
        for run in ("onecycle", "weakens", "freezes")
    ),
    ("onecycle", "--trainer.limit_train_batches=7", "trainer.limit_train_batches must be 6, got 7"),
    ("constant", "--trainer.precision=bf16-mixed", "trainer.precision must be 32-true, got bf16-mixed"),
    ("constant", "--trainer.gradient_clip_val=0.1", "trainer.gradient_clip_val must be 0.0, got 0.1"),
    ("constant", "--trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches must be 1, got 2"),
    ("constant", "--trainer.limit_train_batches=7", "trainer.limit_train_batches must be 6, got 7"),
    ("constant", "--trainer.limit_train_batches=1.0", "trainer.limit_train_batches must be 6, got 1.0"),
    ("constant", "--trainer.limit_val_batches=1", "trainer.limit_val_batches must be 1.0, got 1"),
    ("constant", "--trainer.overfit_batches=2", "trainer.overfit_batches must be 0.0, got 2"),
    ("constant", "--trainer.check_val_every_n_epoch=2", "trainer.check_val_every_n_epoch must be 1, got 2"),
    ("constant", "--trainer.deterministic=true", "trainer.deterministic must be False, got True"),
    ("constant", "--trainer.callbacks=LambdaCallback", "trainer.callbacks must be []"),
    ("constant", "--model.optimizer.fused=false", "model.optimizer.init_args.fused must be True, got False"),
    ("constant", "--model.compile=true", "model.compile must be False, got True"),
    ("onecycle", "--model.warmup=0.5", "model.warmup must be 0.2, got 0.5"),
    ("onecycle", "--trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches must be 1, got 2"),
]


@pytest.mark.parametrize(("schedule", "flag", "reason"), REFUSED, ids=[" ".join(each[:2]) for each in REFUSED])
def test_14_a_flag_that_contradicts_the_checkpoint_is_refused(run_line, tmp_path, finished, schedule, flag, reason):
    run = tmp_path / "runs" / finished[schedule].name
    run.mkdir(parents=True)
    for path in finished[schedule].iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    before = {path: path.read_bytes() for path in run.iterdir()}
    code, err = run_line("fit", "--ckpt_path=last", flag)
    (line,) = err.splitlines()
    assert code == 2
    assert reason in line
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_14_a_run_of_a_version_that_ordered_its_samples_otherwise_is_refused(run_line, tmp_path, finished):
    run = tmp_path / "runs" / finished["constant"].name
    shutil.copytree(finished["constant"], run)
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    del checkpoint["recipe"]["version"]
    torch.save(checkpoint, run / "last.ckpt")
    code, err = run_line("fit", "--ckpt_path=last", "--trainer.max_epochs=4")
    (line,) = err.splitlines()
    assert code == 2
    assert "was begun by an earlier version" in line


def test_14_a_run_of_a_version_that_knew_no_weakening_distortion_is_resumed_without(run_line, tmp_path, finished):
    run = tmp_path / "runs" / finished["constant"].name
    shutil.copytree(finished["constant"], run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("    end: 1.0\n", ""))
    assert config != (run / "config.yaml").read_text()
    assert run_line("fit", "--ckpt_path=last", "--trainer.max_epochs=4") == (0, "")
    assert (run / "config.yaml").read_text() == config.replace("max_epochs: 3", "max_epochs: 4")


def test_14_a_schedule_that_is_none_is_refused(run_line):
    code, err = run_line("fit", "--model.schedule=cosine")
    assert code == 2
    assert "model.schedule" in err
    assert "cosine" in err


def test_14_an_epoch_cut_short_is_not_gone_on_from(start, tmp_path):
    cut = (*CONSTANT, "--trainer.max_steps=8")
    assert start(tmp_path, "fit", *SHORT, *cut).wait()[0] == 0
    code, _, err = start(tmp_path, "fit", "--ckpt_path=last", "--trainer.max_steps=-1").wait()
    assert code == 2
    assert "only whole epochs can be resumed from" in err


def test_14_flags_that_do_not_contradict_are_honoured(start, reference, tmp_path):
    assert start(tmp_path, "fit", *SHORT, *CONSTANT, "--trainer.max_epochs=2").wait()[0] == 0
    ways = ("--trainer.max_epochs=3", "--pictures=false", "--trainer.enable_progress_bar=false")
    code, out, err = start(tmp_path, "fit", "--ckpt_path=last", *ways).wait()
    assert (code, err) == (0, "")
    assert "epoch 3/3" not in out
    ended = [checkpoints.read_checkpoint(run / "last.ckpt") for run in (the_run(tmp_path), reference(*CONSTANT))]
    assert differences(*ended) == []
