"""A folder from a stranger: its config is data, whatever it names; only --config makes it code."""

import shutil
import sys

import pytest
import yaml

from tests.faults.test_loading import run_line  # noqa: F401 - a fixture

EVIL = """
import pathlib
from lightning.pytorch.callbacks import Callback
pathlib.Path(__file__).with_name("executed").touch()
class Evil(Callback): pass
def evil(*args, **kwargs): pass
"""
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
WANDB = "lenet_lightning.training.loggers.wandb.WandbLogger"

# where in the config, and what
HOSTILE = {
    "callback": ("trainer.callbacks", [{"class_path": "stranger.evil.Evil"}]),
    "callback by name": ("trainer.callbacks", "stranger.evil.Evil"),
    "settings in a file": ("trainer.callbacks", "settings"),
    "function": (
        "trainer.callbacks",
        [
            {
                "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                "init_args": {"on_fit_start": "stranger.evil.evil"},
            }
        ],
    ),
    "place to write to": ("trainer.callbacks", [{"class_path": CHECKPOINT, "init_args": {"dirpath": "victim"}}]),
    "name that leaves the folder": (
        "trainer.logger",
        [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "x", "name": "../../victim"}}],
    ),
    "address to send to": ("trainer.logger", [{"class_path": WANDB, "dict_kwargs": {"settings": {"base_url": "x"}}}]),
    "logger": ("trainer.logger", [{"class_path": "stranger.evil.Evil"}]),
    "plugin": ("trainer.plugins", [{"class_path": "stranger.evil.Evil"}]),
    "strategy": ("trainer.strategy", "stranger.evil.Evil"),
    "profiler": ("trainer.profiler", {"class_path": "stranger.evil.Evil"}),
    "optimizer": ("model.optimizer", {"class_path": "stranger.evil.Evil"}),
    "submodule of Lightning": ("trainer.callbacks", [{"class_path": "lightning.pytorch.callbacks.x.stranger.evil"}]),
    "class beside another": (
        "trainer.callbacks",
        [{"class_path": "lightning.pytorch.callbacks.Timer", "extra": {"class_path": "stranger.evil.Evil"}}],
    ),
    "distortion in a file": ("data.distortion", "settings"),
    "whole section in a file": ("trainer", "settings"),
}
DAMAGED = {
    "python object": b"seed_everything: !!python/object/apply:pathlib.Path.touch [!!python/name:stranger.evil.Evil '']",
    "aliases": b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "deep": b"[" * 50_000,
    "large": b"a: 1\n" * 100_000,
    "no settings": b"hello",
    "not text": b"\xff\xfe\x00",
}


@pytest.fixture
def stranger(reference, run_line, tmp_path, monkeypatch):  # noqa: F811
    """A finished run as somebody sent it, importable as a package would be: its folder."""
    folder = tmp_path / "stranger"
    shutil.copytree(reference(), folder)
    (folder / "evil.py").write_text(EVIL)
    (tmp_path / "settings").write_text(yaml.safe_dump([{"class_path": "stranger.evil.Evil"}]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "stranger"]:
        del sys.modules[name]


def rewrite(config, where, what):
    tree = yaml.safe_load(config.read_text())
    *sections, last = where.split(".")
    inner = tree
    for section in sections:
        inner = inner[section]
    inner[last] = what
    config.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_config_beside_a_checkpoint_is_refused_where_it_names_code_or_a_place(run_line, stranger, tmp_path, kind):  # noqa: F811
    rewrite(stranger / "config.yaml", *HOSTILE[kind])
    before = {path: path.read_bytes() for path in stranger.iterdir() if path.is_file()}
    code, err = run_line("fit", "--ckpt_path=stranger/last.ckpt")
    (line,) = err.splitlines()
    assert code in (1, 2)
    assert "stranger/config.yaml: " in line
    assert "--config" in line
    assert not (stranger / "executed").exists()
    assert not (tmp_path / "victim").exists()
    assert {path: path.read_bytes() for path in stranger.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("verb", ["test", "validate"])
def test_an_evaluation_takes_no_more_than_the_data_folder_from_it(run_line, stranger, tmp_path, verb, kind):  # noqa: F811
    rewrite(stranger / "config.yaml", *HOSTILE[kind])
    assert run_line(verb, "--ckpt_path=stranger/best.ckpt", "--trainer.limit_test_batches=1") == (0, "")
    assert not (stranger / "executed").exists()
    assert not (tmp_path / "victim").exists()


def test_a_stranger_in_runs_is_not_executed_either(run_line, stranger, tmp_path):  # noqa: F811
    rewrite(stranger / "config.yaml", *HOSTILE["callback"])
    shutil.copytree(stranger, tmp_path / "runs" / "zz_from_a_friend")
    assert run_line("test", "--trainer.limit_test_batches=1") == (0, "")
    assert not (stranger / "executed").exists()


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_config_beside_a_checkpoint_is_named(run_line, stranger, tmp_path, kind):  # noqa: F811
    (stranger / "config.yaml").write_bytes(DAMAGED[kind])
    code, err = run_line("fit", "--ckpt_path=stranger/last.ckpt")
    (line,) = err.splitlines()
    assert (code, "stranger/config.yaml: must be the config of a run" in line) == (1, True)
    assert len(line) < 500
    assert run_line("test", "--ckpt_path=stranger/best.ckpt", "--trainer.limit_test_batches=1")[0] == 0


def test_a_config_that_is_passed_is_code(run_line, stranger, tmp_path):  # noqa: F811
    rewrite(stranger / "config.yaml", *HOSTILE["callback"])
    code, err = run_line("fit", "--config=stranger/config.yaml", "--trainer.max_epochs=0")
    assert (code, "trainer.max_epochs must be 1 or more" in err) == (2, True)
    assert (stranger / "executed").exists()


def test_a_run_with_callbacks_of_lightning_and_another_optimizer_resumes(start, tmp_path):
    folder = tmp_path / "own"
    options = (
        "--trainer.callbacks+=EarlyStopping",
        "--trainer.callbacks.monitor=val/loss",
        "--model.optimizer=RMSprop",
        "--model.schedule=constant",
        "--data.distortion.end=1",
    )
    from tests.faults.conftest import SHORT

    assert start(folder, "fit", *SHORT, *options, "--trainer.max_epochs=1").wait()[0] == 0
    code, out, err = start(folder, "fit", "--ckpt_path=last", "--trainer.max_epochs=2").wait()
    assert (code, err) == (0, "")
    assert "epoch 2/2" in out
