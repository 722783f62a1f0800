"""The READMEs' table of results, from rows that can be checked by hand."""

import pytest

from tests.benchmarks import tables

ROWS = {
    "targets": [
        {"run": "tutorial", "epoch_s": [10.0, 20.0]},
        {"run": "98.75", "config": "fast.yaml", "test_acc": 99.0, "train_s": 7.0},
        {"run": "98.75", "config": "fast.yaml", "test_acc": 99.1, "train_s": 8.0},
        {"run": "99.0", "config": "fast.yaml", "test_acc": 99.9, "train_s": 1.0},  # fast.yaml with other settings
        {"run": "99.5", "config": "default.yaml", "test_acc": 99.5, "train_s": 60.0},
        {"run": "99.6", "config": "record.yaml", "test_acc": 99.6, "train_s": 1000.0},
    ],
}


def test_results_are_means_over_the_seeds_of_each_config():
    lines = tables.results(ROWS.__getitem__, tables.ENGLISH).splitlines()[2:]
    numbers = [[cell.strip() for cell in line.split("|")[3:6]] for line in lines]
    assert numbers == [
        ["98.75 % (its author's)", "", "30 s"],
        ["**99.05 %**", "2", "7.5 s"],
        ["**99.50 %**", "1", "60 s"],
        ["**99.60 %**", "1", "1,000 s"],
    ]


def test_both_languages_have_the_same_configs():
    assert tables.ENGLISH.keys() == tables.CHINESE.keys()


def test_machines_on_paper_add_the_network_of_a_ring_to_what_was_measured():
    # a step of one process: 5 ms and 0.1 ms a sample; the second process adds 1.2 ms
    times = {(1, 1, 256): 30.6, (1, 1, 128): 17.8, (1, 1, 32): 8.2, (1, 2, 256): 20.0, (2, 1, 128): 19.0}
    rows = [
        {"processes": processes, "threads": threads, "batch_size": size, "step_ms": ms}
        for (processes, threads, size), ms in times.items()
    ]
    lines = tables.machines({"processes": rows}.__getitem__).splitlines()[2:]
    numbers = [[float(cell) for cell in line.strip("| ").split("|")] for line in lines]
    assert numbers[0] == [1, 30.6, 0.0, 6.6, 0.0, 6.6]
    # 2 x 0.15 ms and 246,824 bytes at 125 million a second; then 2 x 0.03 ms and the same at 3,125 million
    assert numbers[1] == [2, 19.0, 2.3, 4.6, 0.1, 4.1]
    assert numbers[-1][2] == pytest.approx(126 * 0.15 + 126 / 64 * 1.974592, abs=0.05)
