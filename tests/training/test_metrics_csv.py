import csv

from lenet_lightning.training.metrics_csv import MetricsCSV


def read(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_what_is_logged_of_an_epoch_is_one_row(tmp_path):
    log = MetricsCSV(str(tmp_path))
    for epoch in (1.0, 2.0):
        log.log_metrics({"val/acc": epoch / 10, "epoch": epoch}, step=9)
        log.log_metrics({"train/acc": epoch / 20, "epoch": epoch}, step=10)
    log.log_metrics({"test/acc": 0.5, "epoch": 2}, step=10)
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
