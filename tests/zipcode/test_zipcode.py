"""The training of the row reader through the command line, on fake digits."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from lenet_lightning import Recognizer
from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.errors import RunError
from lenet_lightning.rows.decoding import NO_DIGIT
from lenet_lightning.rows.network import NONE
from lenet_lightning.rows.reader import RowReader
from lenet_lightning.rows.style import KINDS, TRAINING
from lenet_lightning.training.checkpoints import read_checkpoint
from lenet_lightning.zipcode import datamodule
from lenet_lightning.zipcode.classifier import right
from lenet_lightning.zipcode.datamodule import WrittenRows, judged
from lenet_lightning.zipcode.metrics import edits, rejected
from lenet_lightning.zipcode.metrics import test_metrics as measured
from tests.training.plain import QUIET

pytestmark = QUIET

CONFIG = Path(__file__).parents[2] / "configs" / "zipcode.yaml"
SHORT = (
    "--trainer.precision=32-true",
    "--data.rows=96",
    "--data.batch_size=32",
    "--model.schedule=constant",
    "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
)


@pytest.fixture
def train(command, monkeypatch):
    """Run `fit` with the config of rows, on few; return the run's folder and what is printed."""
    monkeypatch.setattr(datamodule, "PER_KIND", {"val": 3, "test": 2})

    def run(root, *options):
        code, out, err = command("fit", "--config", CONFIG, *SHORT, "--trainer.default_root_dir", root, *options)
        assert (code, err) == (0, "")
        (folder,) = (each for each in Path(root).iterdir() if not each.is_symlink())
        return folder, out

    return run


@pytest.fixture
def ten():
    """A sample of each digit."""
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    for digit in range(10):
        images[digit, 0, 4:24, 6 : 8 + digit] = 255
    return ResidentDigits(images, torch.arange(10))


def test_a_run_is_trained_tested_validated_and_read_with(train, command):
    run, out = train("runs", "--trainer.max_epochs=1")
    assert "test accuracy" in out and "of 8)" in out
    results = json.loads((run / "results.json").read_text())
    wanted = {f"test/{name}/{kind}" for name in ("acc", "rejected_for_error_0.01") for kind in KINDS}
    assert wanted | {"test/acc", "test/loss", "test/digit_error"} <= results.keys()
    with (run / "metrics.csv").open() as file:
        assert {"val/acc", "val/digit_error", "train/acc"} <= set(next(csv.reader(file)))
    for asked, rows in (("validate", 12), ("test", 8)):
        code, out, err = command(asked, "--config", CONFIG, "--ckpt_path", run / "best.ckpt")
        assert (code, err) == (0, "")
        assert f"of {rows})" in out
    assert len(RowReader(run / "weights.safetensors").read([np.zeros((28, 50), np.uint8)])) == 1
    with pytest.raises(RunError, match="network must be one of lenet5"):  # not taken for one of single digits
        Recognizer(run / "weights.safetensors")


def test_a_run_that_is_resumed_ends_as_the_uninterrupted_one(train):
    whole, _ = train("whole", "--trainer.max_epochs=2")
    train("parts", "--trainer.max_epochs=1")
    parts, _ = train("parts", "--trainer.max_epochs=2", "--ckpt_path=auto")
    one, other = (read_checkpoint(run / "last.ckpt") for run in (whole, parts))
    assert one["epoch"] == other["epoch"] == 1
    for name, values in one["state_dict"].items():
        assert torch.equal(values, other["state_dict"][name]), name


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--model.network=lenet5"], "data.rows must be 0"),
        (["--data.rows=0"], "data.rows must be above 0"),
        (["--data.variants=2"], "data.variants must be 0 with data.rows"),
        (["--data.distortion.shift=1"], "data.distortion must be all 0 with data.rows"),
        (["--model.label_smoothing=0.1"], "model.label_smoothing must be 0 with model.network lenet5_swept"),
        (["--model.loss=rbf_map"], "model.loss must be cross_entropy with model.network lenet5_swept"),
        (["--model.schedule=paper"], "model.schedule must be constant"),
        (["--model.weights=none.safetensors"], "none.safetensors: no such weights file"),
    ],
)
def test_settings_that_do_not_go_with_rows_are_refused_by_name(command, options, what):
    code, _, err = command("fit", "--config", CONFIG, *SHORT, *options)
    assert code == 2
    assert what in err
    assert err.count("\n") == 1


def test_a_training_row_is_a_function_of_seed_epoch_and_index(ten):
    epoch = 0
    rows = WrittenRows(ten, TRAINING, 64, 7, lambda: epoch)
    first, digits = rows.__getitems__(list(range(64)))
    assert first.shape == (64, 1, 28, 128)
    assert first.dtype == torch.uint8
    again, same = rows.__getitems__([9, 3])  # in whatever batch, of whatever process
    assert torch.equal(again, first[[9, 3]])
    assert torch.equal(same, digits[[9, 3]])
    assert torch.equal(rows[5][0], first[5])
    epoch = 1
    assert not torch.equal(rows.__getitems__(list(range(64)))[0], first)
    epoch = 0
    assert torch.equal(rows.__getitems__(list(range(64)))[0], first)
    assert not torch.equal(WrittenRows(ten, TRAINING, 64, 8, lambda: 0).__getitems__(list(range(64)))[0], first)


def test_rows_to_judge_by_are_five_digits_of_each_kind_in_turn(ten):
    rows = judged(ten, 4)
    assert rows.images.shape == (16, 1, 28, 208)
    assert (rows.labels != NO_DIGIT).sum(1).tolist() == [5] * 16
    assert torch.equal(rows.images, judged(ten, 4).images)
    assert not torch.equal(rows.images, judged(ten, 4, seed=1).images)
    writer = datamodule.writer_of(ten)
    (seed, *_) = SeedSequence(datamodule.JUDGED_SEED).spawn(16)
    row, digits = writer.row(((1, KINDS["apart"]),), seed, 208)
    assert rows.labels[0].tolist()[:5] == digits
    np.testing.assert_array_equal(rows.images[0, 0], row)


def test_the_digit_error_is_levenshteins():
    def padded(*strings):
        return torch.tensor([[*map(int, each), *[NO_DIGIT] * (6 - len(each))] for each in strings])

    read, truth = ("12345", "", "1", "2345", "112345", "54321"), ("12345", "12", "", "12345", "12345", "12345")
    assert edits(padded(*read), padded(*truth)).tolist() == [0, 2, 1, 1, 1, 4]
    assert torch.equal(edits(padded(*read), padded(*truth)), edits(padded(*truth), padded(*read)))


def test_what_is_rejected_is_the_least_that_leaves_so_few_wrong():
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        claimed, exact = torch.rand(40, generator=draw), torch.rand(40, generator=draw) < 0.9
        best = 1.0
        for kept in range(1, 41):
            surest = claimed.argsort(descending=True)[:kept]
            if (~exact[surest]).sum() <= 0.1 * kept:
                best = 1 - kept / 40
        assert rejected(claimed, exact, 0.1) == pytest.approx(best)


def test_a_row_is_right_if_all_digits_are_there_and_no_others():
    digits = torch.tensor([[1, 2, NO_DIGIT], [1, 2, 3]])
    logits = torch.zeros(2, 11, 9)
    logits[:, NONE] = 1
    for at, digit in ((0, 1), (2, 2), (4, 3)):
        logits[:, digit, at] = 5
    assert right(logits, digits).tolist() == [False, True]
    logits[0, 3, 4] = 0
    assert right(logits, digits).tolist() == [True, True]
    logits[1, 4, 6] = 5
    assert right(logits, digits).tolist() == [True, False]
    assert measured(logits.repeat(2, 1, 1), digits.repeat(2, 1))["acc/apart"] == 1.0
