"""Real pictures of people's digits, where they are at hand: beside the repository, never in it."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from lenet_lightning import Recognizer, weights

FOLDER = Path(__file__).parents[2].parent / "shared" / "pictures"
SURE = 0.95

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (FOLDER / "index.csv").exists(), reason="the pictures are not at hand"),
]


@pytest.fixture(scope="module")
def pictures():
    with (FOLDER / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scored(pictures, mode, read):
    """How many of a kind are read right, and how many wrong though sure and without a notice."""
    right, silent, count = Counter(), 0, Counter()
    for each in (each for each in pictures if each["mode"] == mode):
        text, probability, notice = read(FOLDER / each["file"])
        kind = each["file"].split("_")[0]
        count[kind] += 1
        right[kind] += text == each["truth"]
        silent += text != each["truth"] and probability >= SURE and not notice
    print(", ".join(f"{kind} {right[kind]} of {count[kind]}" for kind in count), f"; silent {silent}")
    return right.total(), silent


def test_single_digits(pictures):
    recognizer = Recognizer(weights.SHIPPED)

    def read(path):
        answer = recognizer(path)
        return str(answer.digit), 0 if answer.probabilities is None else answer.probabilities.max(), answer.notice

    right, silent = scored(pictures, "single", read)
    assert right >= 308
    assert silent <= 3


def test_rows(pictures):
    recognizer = Recognizer(weights.SHIPPED)

    def read(path):
        answer = recognizer.line(path)
        return answer.text, answer.probability or 0, answer.notice

    right, silent = scored(pictures, "row", read)
    assert right >= 50
    assert silent <= 2


def test_a_row_is_hardly_ever_one_digit_silently(pictures):
    recognizer = Recognizer(weights.SHIPPED)
    rows = [FOLDER / each["file"] for each in pictures if each["mode"] == "row"]
    silent = [path.name for path in rows if not recognizer(path).notice]
    print(silent)
    assert len(silent) <= 1
