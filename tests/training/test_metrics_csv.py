import csv

import pytest

from lenet_lightning.errors import RunError
from lenet_lightning.training.loggers.metrics_csv import MetricsCSV
from lenet_lightning.training.loggers.table import read_rows


def read(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_what_is_logged_of_an_epoch_is_one_row(tmp_path):
    log = MetricsCSV(str(tmp_path))
    for epoch in (1.0, 2.0):
        log.log_metrics({"val/acc": epoch / 10, "epoch": epoch}, step=9)
        log.log_metrics({"train/acc": epoch / 20, "epoch": epoch}, step=10)
    log.log_metrics({"test/acc": 0.5, "epoch": 2.0}, step=10)
    assert read(tmp_path) == [
        {"epoch": "1", "step": "10", "val/acc": "0.1", "train/acc": "0.05", "test/acc": ""},
        {"epoch": "2", "step": "10", "val/acc": "0.2", "train/acc": "0.1", "test/acc": "0.5"},
    ]


def test_every_epoch_is_on_disk_at_once(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"train/acc": 0.5, "epoch": 1.0}, step=1)
    assert len(read(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_resumed_run_keeps_earlier_rows_and_replaces_those_it_repeats(tmp_path):
    first = MetricsCSV(str(tmp_path))
    for epoch in (1.0, 2.0, 3.0):
        first.log_metrics({"train/acc": 0.1, "epoch": epoch}, step=1)
    resumed = MetricsCSV(str(tmp_path))
    for epoch in (3.0, 4.0):
        resumed.log_metrics({"train/acc": 0.2, "epoch": epoch}, step=1)
    assert [(row["epoch"], row["train/acc"]) for row in read(tmp_path)] == [
        ("1", "0.1"),
        ("2", "0.1"),
        ("3", "0.2"),
        ("4", "0.2"),
    ]


def test_the_test_of_a_run_that_is_trained_changes_nothing_else(tmp_path):
    log = MetricsCSV(str(tmp_path))
    for epoch in (1.0, 2.0):
        log.log_metrics({"train/acc": 0.1, "epoch": epoch}, step=1)
    MetricsCSV(str(tmp_path)).log_metrics({"test/acc": 0.5, "epoch": 2.0}, step=1)
    assert [(row["epoch"], row["train/acc"], row["test/acc"]) for row in read(tmp_path)] == [
        ("1", "0.1", ""),
        ("2", "0.1", "0.5"),
    ]


ROWS = [
    {"epoch": "1", "step": "9", "val/acc": "0.5", "test/acc": "", "lr": "1e-05"},
    {"epoch": "2", "step": "18", "val/acc": "0.75", "test/acc": "0.9", "lr": "1e-05"},
]
TEXT = "epoch,step,val/acc,test/acc,lr\n1,9,0.5,,1e-05\n2,18,0.75,0.9,1e-05\n"


@pytest.mark.parametrize(
    "saved",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode("utf-16"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace(",", ";").replace(".", ",").encode(),
        b'"epoch","step","val/acc","test/acc","lr"\n"1","9","0,5","","1e-05"\n"2","18","0,75","0,9","1e-05"\n',
        TEXT.replace("\n1,9", "\n1.0,9.0").encode() + b"\n,,,,\n",
        b"epoch,step,val/acc,test/acc,lr\n2,18,0.75,0.9,1e-05,,\n1,9,0.5,,1e-05\n",
    ],
    ids=["ours", "BOM", "semicolons", "UTF-16", "CRLF", "decimal commas", "quoted", "1.0", "sorted otherwise"],
)
def test_a_file_that_a_spreadsheet_saved_is_read(tmp_path, saved):
    (tmp_path / "metrics.csv").write_bytes(saved)
    assert read_rows(tmp_path / "metrics.csv") == (ROWS, "")


def test_a_column_of_the_users_own_is_kept(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,remark\n1,9,good, so far\n2,18\n".replace("good, so far", '"good, so far"')
    )
    MetricsCSV(str(tmp_path)).log_metrics({"train/acc": 0.5, "epoch": 3.0}, step=27)
    assert [(row["epoch"], row["remark"]) for row in read(tmp_path)] == [("1", "good, so far"), ("2", ""), ("3", "")]


@pytest.mark.parametrize(
    "bad", ["2,18,0.7", "x,18,0.7\n", "1,18,0.7\n", "1.5,18,0.7\n", "inf,18,0.7\n", "2,1e999,0.7\n"]
)
def test_a_row_that_cannot_be_read_costs_no_other(tmp_path, bad):
    (tmp_path / "metrics.csv").write_text(f"epoch,step,val/acc\n1,9,0.5\n{bad}")
    rows, fault = read_rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1"]
    assert fault.startswith("line 3 must be whole")


def test_no_file_is_no_fault(tmp_path):
    assert read_rows(tmp_path / "metrics.csv") == ([], "")


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    log = MetricsCSV(str(tmp_path / "run"))
    with pytest.raises(RunError, match="was removed or moved"):
        log.log_metrics({"train/acc": 0.5, "epoch": 1.0}, step=1)
    assert not (tmp_path / "run").exists()


def steps(folder):
    return list(csv.DictReader((folder / "steps.csv").read_text().splitlines()))


def test_what_is_logged_of_a_step_has_a_row_in_a_file_of_its_own(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"train/loss_step": 2.5, "epoch": 0}, step=4)  # Lightning adds the number of the epoch, from 0
    log.log_metrics({"lr-SGD": 0.1}, step=4)
    log.log_metrics({"lr-SGD": 0.2}, step=9)
    log.log_metrics({"train/acc": 0.5, "epoch": 1.0}, step=9)
    assert read(tmp_path) == [{"epoch": "1", "step": "9", "train/acc": "0.5"}]
    assert steps(tmp_path) == [
        {"step": "4", "train/loss_step": "2.5", "lr-SGD": "0.1"},
        {"step": "9", "train/loss_step": "", "lr-SGD": "0.2"},
    ]


def test_a_resumed_run_replaces_the_steps_that_it_repeats(tmp_path):
    for value, numbers in ((0.1, (4, 9, 14)), (0.2, (9, 19))):
        log = MetricsCSV(str(tmp_path))
        for number in numbers:
            log.log_metrics({"lr-SGD": value}, step=number)
        log.finalize("success")
    assert [(row["step"], row["lr-SGD"]) for row in steps(tmp_path)] == [("4", "0.1"), ("9", "0.2"), ("19", "0.2")]
