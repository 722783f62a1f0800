"""Validation metrics are of the weights that they stand beside, or they are neither printed, logged nor selected by."""

import csv
import re
import signal

import pytest

from lenet_lightning.training import checkpoints
from tests.faults.conftest import SHORT, assert_equal_runs, rows, the_run

CSV = "lenet_lightning.training.loggers.metrics_csv.MetricsCSV"
STEPS = '{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "."}}'
BOTH = f'--trainer.logger=[{{"class_path": "{CSV}"}}, {STEPS}]'
THREE = "--trainer.max_epochs=3"


def lines(out):
    """The lines of epochs, without loss and time: what they begin with, validation accuracy, whether best so far."""
    found = [line for line in out.splitlines() if line.startswith("epoch")]
    return [
        (line.split("   ")[0], *re.findall(r"val loss .*? acc +(\S+)", line), *re.findall("best so far", line))
        for line in found
    ]


def validated(run):
    return [row["epoch"] for row in rows(run) if row.get("val/acc") or row.get("val/loss")]


@pytest.mark.parametrize("sanity", [0, 2])
def test_an_epoch_without_validation_has_no_validation_metrics(command, quick, tmp_path, sanity):
    options = ("--trainer.check_val_every_n_epoch=2", f"--trainer.num_sanity_val_steps={sanity}")
    code, out, err = command("fit", *quick, "--trainer.max_epochs=5", *options)
    assert (code, err) == (0, "")
    assert [(line[0], len(line) > 1) for line in lines(out)] == [
        ("epoch 1/5", False),
        ("epoch 2/5", True),
        ("epoch 3/5", False),
        ("epoch 4/5", True),
        ("epoch 5/5", False),
    ]
    assert validated(the_run(tmp_path)) == ["2", "4"]
    assert checkpoints.read_checkpoint(the_run(tmp_path) / "best.ckpt")["epoch"] + 1 in (2, 4)


def test_weights_that_were_not_validated_are_never_the_best(command, quick, tmp_path):
    """After 4 of 6 steps the network is as good as it gets; what the epochs end with is spoiled."""
    spoiled = ("--trainer.val_check_interval=4", "--trainer.callbacks=tests.faults.noise.SpoilTheEnd")
    code, out, err = command("fit", *quick, THREE, *spoiled)
    assert (code, err) == (0, "")
    assert [line[0] for line in lines(out)] == [
        "epoch 1/3, step 4",
        "epoch 1/3",
        "epoch 2/3, step 10",
        "epoch 2/3",
        "epoch 3/3, step 16",
        "epoch 3/3",
    ]
    assert [len(line) for line in lines(out)] == [2, 1] * 3
    assert not (the_run(tmp_path) / "best.ckpt").exists()


def test_of_several_validations_in_an_epoch_each_is_printed_and_logged(command, quick, tmp_path):
    code, out, err = command("fit", *quick, THREE, "--trainer.val_check_interval=0.5", BOTH)
    assert (code, err) == (0, "")
    assert [line[0] for line in lines(out)] == [
        "epoch 1/3, step 3",
        "epoch 1/3",
        "epoch 2/3, step 9",
        "epoch 2/3",
        "epoch 3/3, step 15",
        "epoch 3/3",
    ]
    (log,) = tmp_path.glob("**/lightning_logs/*/metrics.csv")
    logged = [row for row in csv.DictReader(log.read_text().splitlines()) if row["val/acc"]]
    assert [(int(row["step"]) + 1, float(row["epoch"])) for row in logged] == [
        (3, 1.0),
        (6, 1.0),
        (9, 2.0),
        (12, 2.0),
        (15, 3.0),
        (18, 3.0),
    ]
    printed = [line[1] for line in lines(out)]
    assert printed == [f"{float(row['val/acc']):.2%}" for row in logged]
    at_the_ends = [row["val/acc"] for row in logged if int(row["step"]) % 6 == 5]
    assert [float(row["val/acc"]) for row in rows(the_run(tmp_path))] == pytest.approx([float(a) for a in at_the_ends])


def test_a_training_that_ends_within_an_epoch_is_validated_there(command, quick, tmp_path):
    early = ("--trainer.limit_train_batches=3", "--trainer.max_steps=5")  # accuracy still rises with each step
    code, out, err = command("fit", *quick, THREE, *early)
    assert (code, err) == (0, "")
    first, (last, accuracy, *_) = lines(out)
    assert (first[0], last) == ("epoch 1/3", "epoch 2/3, step 5")
    assert f"{float(rows(the_run(tmp_path))[1]['val/acc']):.2%}" == accuracy != first[1]
    assert checkpoints.read_checkpoint(the_run(tmp_path) / "best.ckpt")["global_step"] == 5
    code, out, _ = command("validate", "--ckpt_path=last")
    assert (code, f"validation accuracy {accuracy} (" in out) == (0, True)


def test_an_epoch_that_is_cut_short_and_not_validated_shows_no_older_metrics(command, quick, tmp_path):
    code, out, err = command("fit", *quick, THREE, "--trainer.max_steps=15", "--trainer.check_val_every_n_epoch=2")
    assert (code, err) == (0, "")
    assert [(line[0], len(line) > 1) for line in lines(out)] == [
        ("epoch 1/3", False),
        ("epoch 2/3", True),
        ("epoch 3/3, step 15", False),
    ]
    assert validated(the_run(tmp_path)) == ["2"]
    assert checkpoints.read_checkpoint(the_run(tmp_path) / "best.ckpt")["epoch"] == 1


@pytest.mark.parametrize(
    ("every", "said"),
    [
        (2, "best.ckpt (epoch 2; epoch 3, the last one, was not validated at its end)"),
        (9, "last.ckpt (no epoch was validated at its end, so there is no best)"),
    ],
)
def test_what_is_tested_is_said_where_the_last_epoch_was_not_validated(command, quick, tmp_path, every, said):
    options = (f"--trainer.check_val_every_n_epoch={every}", "--trainer.limit_test_batches=1.0", "--pictures=false")
    code, out, err = command("fit", *quick, THREE, *options)
    assert (code, err) == (0, "")
    assert said in out
    assert (the_run(tmp_path) / "results.json").exists()


def test_steps_alone_are_a_length_too(command, quick):
    code, out, err = command("fit", *quick, "--trainer.max_epochs=null", "--trainer.max_steps=12")
    assert (code, err) == (0, "")
    assert [line[0] for line in lines(out)] == ["epoch 1", "epoch 2"]


@pytest.mark.parametrize("option", ["limit_val_batches=0", "fast_dev_run=2", "overfit_batches=2"])
def test_lightnings_own_short_runs_print_what_they_validated(command, quick, option):
    code, out, err = command("fit", *quick, "--trainer.max_epochs=2", f"--trainer.{option}")
    assert (code, err) == (0, "")
    assert [len(line) > 1 for line in lines(out)] == {
        "limit_val_batches=0": [False] * 2,
        "fast_dev_run=2": [True],
        "overfit_batches=2": [True] * 2,
    }[option]


EVERY_SECOND = "--trainer.check_val_every_n_epoch=2"


def test_a_resumed_run_whose_first_epoch_is_not_validated(start, reference, tmp_path):
    assert start(tmp_path, "fit", *SHORT, EVERY_SECOND, fault=("kill_at_batch", 13)).wait()[0] == -signal.SIGKILL
    code, out, err = start(tmp_path, "fit", "--ckpt_path=last").wait()
    assert (code, err) == (0, "")
    assert lines(out) == [("epoch 3/3",)]
    assert validated(the_run(tmp_path)) == ["2"]
    assert_equal_runs(the_run(tmp_path), reference(EVERY_SECOND))
