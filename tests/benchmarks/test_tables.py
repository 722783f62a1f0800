"""The READMEs' table of results, from rows that can be checked by hand."""

from tests.benchmarks import tables

ROWS = {
    "targets": [
        {"run": "tutorial", "epoch_s": [10.0, 20.0]},
        {"run": "98.75", "config": "fast.yaml", "test_acc": 99.0, "train_s": 7.0},
        {"run": "98.75", "config": "fast.yaml", "test_acc": 99.1, "train_s": 8.0},
        {"run": "99.3", "config": "fast.yaml", "test_acc": 99.9, "train_s": 1.0},  # fast.yaml with other settings
        {"run": "default", "config": "default.yaml", "test_acc": 99.5, "train_s": 60.0},
    ],
    "seeds": [{"config": "record.yaml", "test_acc": 99.6, "train_s": 1000.0}],
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
