"""What a Lightning user passes to the Trainer works beside what is here, or is refused with the reason."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import yaml

from lenet_lightning import weights
from lenet_lightning.__main__ import main
from tests.faults.conftest import the_run
from tests.training.conftest import command, on_fakes, process, quick  # noqa: F401

pytestmark = pytest.mark.usual

ADD = "--trainer.callbacks+="
PLAIN = "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV"


@pytest.fixture
def fit(command, quick):  # noqa: F811
    """A run of one epoch unless told otherwise: (exit code, stdout, stderr)."""
    return lambda *args: command("fit", *quick, "--trainer.max_epochs=1", *args)


def steps():
    return list(csv.DictReader((the_run(Path()) / "steps.csv").read_text().splitlines()))


def done(result):
    code, out, err = result
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize(
    "options", [("LearningRateMonitor",), ("DeviceStatsMonitor", "--trainer.callbacks.cpu_stats=false")]
)
def test_callbacks_that_log_by_themselves(fit, options):
    done(fit(ADD + options[0], *options[1:], "--trainer.log_every_n_steps=2"))
    assert [row["step"] for row in steps()] == ["1", "3", "5"]
    assert [1.5 < float(row["train/loss_step"]) < 3 for row in steps()] == [True] * 3
    if options[0] == "LearningRateMonitor":
        assert [row["lr-AdamW"] for row in steps()] == [row["lr_step"] for row in steps()]


def test_early_stopping_says_why_it_stopped(fit):
    stopping = (ADD + "EarlyStopping", "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.mode=max")
    out = done(fit("--trainer.max_epochs=5", *stopping, "--trainer.callbacks.patience=1"))
    assert "epoch 3/5" not in out
    assert "stopped      Monitored metric val/loss did not improve in the last 1 records." in out


def test_the_end_of_max_time_is_said(fit):
    out = done(fit("--trainer.max_epochs=1000", "--trainer.max_time=00:00:00:02"))
    assert re.search("stopped      trainer.max_time: [234] s were trained", out)


def test_a_model_checkpoint_of_ones_own_keeps_its_files_in_the_run(fit):
    done(fit("--trainer.max_epochs=2", ADD + "ModelCheckpoint", "--trainer.callbacks.monitor=val/loss"))
    assert (the_run(Path()) / "epoch=2-step=12.ckpt").is_file()
    assert not (the_run(Path()) / "None").exists()


@pytest.mark.parametrize("bar", ["RichProgressBar", "TQDMProgressBar"])
def test_a_progress_bar_of_ones_own_replaces_the_lines(fit, bar):
    code, out, _ = fit(ADD + bar)
    assert (code, "epoch 1/1" in out) == (0, False)


@pytest.mark.parametrize("profiler", ["simple", "advanced"])
def test_the_profilers_report_is_shown(process, quick, profiler):  # noqa: F811
    begun = process("fit", *quick, "--trainer.max_epochs=1", f"--trainer.profiler={profiler}")
    _, err = begun.communicate(timeout=90)
    assert (begun.returncode, "run_training_epoch" in err) == (0, True)


def test_a_logger_beside_ours_keeps_its_own_folder(fit):
    done(fit("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=elsewhere"))
    assert list(Path("elsewhere").rglob("metrics.csv"))
    assert not (the_run(Path()) / "metrics.csv").exists()


@pytest.mark.parametrize("option", ["barebones", "detect_anomaly", "deterministic"])
def test_flags_of_the_trainer_alone_are_enough(fit, option):
    assert "error" not in done(fit(f"--trainer.{option}=true"))
    assert Path("runs").exists() == (option != "barebones")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_precision_with_clipping_and_averaging(fit, command, precision):  # noqa: F811
    clip = ("--trainer.gradient_clip_val=1", "--model.optimizer.fused=false")
    out = done(fit("--trainer.max_epochs=2", f"--trainer.precision={precision}", *clip))
    assert float(re.findall(r"val loss .*? acc +(\S+)%", out)[-1]) > 90
    assert weights.read(the_run(Path()) / "weights.safetensors")
    assert "validation accuracy" in done(command("validate"))
    assert main(["export", "--format=safetensors", "--output=w.safetensors"]) == 0


def test_averaging_of_lightnings_own_is_what_is_tested(fit):
    out = done(fit("--averaging=0", ADD + "EMAWeightAveraging", "--trainer.limit_test_batches=1.0"))
    assert "best.ckpt" in out


REFUSED = {
    (ADD + "StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.1"): "keeps its average in no checkpoint",
    (ADD + "EMAWeightAveraging",): "two averages of one run; pass --averaging 0",
    (ADD + "LearningRateFinder",): "changes settings after they were recorded",
    (ADD + "BatchSizeFinder",): "changes settings after they were recorded",
    ("--trainer.strategy=ddp_spawn",): "trainer.strategy must be auto or ddp",
    (ADD + "EarlyStopping",): "trainer.callbacks: the following arguments are required: monitor",
    (ADD + "EarlyStopping", "--trainer.callbacks.patiense=3"): "trainer.callbacks: Option 'patiense' is not accepted",
    ("--trainer.logger=TensorBoardLogger",): "trainer.logger: the following arguments are required: save_dir",
    ("--trainer.logger=MLFlowLogger",): "Requirement 'mlflow",
    ("--trainer.gradient_clip_val=abc",): "trainer.gradient_clip_val: must be one of int, float, null, got abc",
    ("--model.optimizer.lr=abc",): "model.optimizer.lr: must be one of float",
}


@pytest.mark.parametrize("options", REFUSED, ids=lambda options: options[-1])
def test_what_cannot_work_is_refused_before_anything_begins(fit, options):
    code, out, err = fit(*options)
    assert (code, out) == (2, "")
    assert REFUSED[options] in err.partition(". ")[0]
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_what_a_sweep_sends_for_nothing_is_nothing(fit):
    done(fit("--trainer.gradient_clip_val=None", "--trainer.max_time", "None"))


def rates():
    rows = csv.DictReader((the_run(Path()) / "metrics.csv").read_text().splitlines())
    return [float(row["lr"]) for row in rows]


SGD = (
    "--trainer.max_epochs=4",
    "--model.optimizer=SGD",
    "--model.optimizer.lr=0.01",
    "--averaging=0",
    "--data.distortion.end=1",
)
SCHEDULES = {
    ("torch.optim.lr_scheduler.StepLR", "step_size=2", "gamma=0.1"): [0.01, 0.001, 0.001, 0.0001],
    ("CosineAnnealingLR", "T_max=4"): [0.008536, 0.005, 0.001464, 0],
    ("ReduceLROnPlateau", "monitor=val/acc", "mode=min", "patience=0", "factor=0.5"): [0.01, 0.005, 0.0025, 0.00125],
}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule[0])
def test_schedules_of_torch(fit, command, schedule):  # noqa: F811
    name, *settings = schedule
    options = (f"--model.schedule={name}", *(f"--model.schedule.{each}" for each in settings))
    done(fit(*SGD, *options))
    assert rates() == pytest.approx(SCHEDULES[schedule], abs=1e-6)
    if name == "CosineAnnealingLR":
        return
    # resumed, it goes on where it stopped
    whole = the_run(Path())
    whole.rename("whole")
    done(fit(*SGD, *options, "--trainer.max_epochs=2"))
    done(command("fit", "--ckpt_path=last", "--trainer.max_epochs=4"))
    assert rates() == pytest.approx(SCHEDULES[schedule], abs=1e-6)


def test_a_schedule_of_torch_by_step(fit):
    options = ("--model.schedule=StepLR", "--model.schedule.step_size=2", "--model.schedule.gamma=0.1")
    done(fit(*SGD, *options, "--model.schedule_interval=step", "--trainer.max_epochs=1"))
    assert rates() == pytest.approx([1e-5])


def test_the_settings_of_a_replaced_optimizer_do_not_leak_into_the_new_one(fit):
    settings = {}
    for options in (("Adam", "--model.optimizer.lr=0.003"), ("AdamW", "--model.optimizer.lr=0.003")):
        done(fit(f"--model.optimizer={options[0]}", *options[1:]))
        run = the_run(Path())
        settings[options[0]] = yaml.safe_load((run / "config.yaml").read_text())["model"]["optimizer"]["init_args"]
        shutil.rmtree("runs")
    assert (settings["Adam"]["lr"], settings["Adam"]["weight_decay"]) == (0.003, 0.0)  # Adam's own, not AdamW's 0.05
    assert (settings["AdamW"]["lr"], settings["AdamW"]["weight_decay"]) == (0.003, 0.05)  # the config's


def test_a_home_folder_is_expanded(command, fit, quick, tmp_path):  # noqa: F811
    place = "--trainer.default_root_dir=~/r"
    done(fit(place, "--model.schedule=constant", "--data.distortion.end=1"))
    (run,) = (path for path in (tmp_path / "home" / "r").iterdir() if not path.is_symlink())
    assert {"config.yaml", "last.ckpt", "metrics.csv", "weights.safetensors"} <= {path.name for path in run.iterdir()}
    assert f"of {run / 'best.ckpt'}" in done(command("validate", place))
    assert "epoch 2/2" in done(command("fit", "--ckpt_path=~/r/latest/last.ckpt", "--trainer.max_epochs=2"))
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


FRACTIONS = {
    "limit_train_batches=0.001": "limit_train_batches must be 1 or more batches, got 0.001 of 922 train batches",
    "limit_val_batches=0.05": "limit_val_batches must be 1 or more batches, got 0.05 of 1 val batches",
    "limit_test_batches=0.05": "limit_test_batches must be 1 or more batches, got 0.05 of 10 test batches",
    "overfit_batches=0.1": "overfit_batches must be 1 or more batches, got 0.1 of 1 val batches",
}


@pytest.mark.parametrize("option", FRACTIONS)
def test_a_fraction_of_less_than_a_batch_is_refused_before_training(fit, option):
    whole = () if option.startswith("limit_train") else ("--trainer.limit_train_batches=1.0",)
    code, out, err = fit(*whole, f"--trainer.{option}")
    assert (code, out) == (2, "")
    assert FRACTIONS[option] in err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_fractions_of_whole_batches_train(fit):
    options = ("limit_train_batches=0.01", "limit_val_batches=0.2", "limit_test_batches=0.1", "overfit_batches=0.0")
    out = done(fit(*(f"--trainer.{option}" for option in options), "--data.val_size=5000"))
    assert "1 of 10 batches" in out


def test_a_fraction_to_overfit_trains(fit):
    done(fit("--trainer.overfit_batches=0.2", "--trainer.limit_train_batches=null", "--data.val_size=5000"))


def test_the_model_summary_counts_the_network_once(fit):
    out = done(fit("--averaging=0.998", "--trainer.enable_model_summary=true"))
    assert "61.7 K" in out
    assert "123 K" not in out
