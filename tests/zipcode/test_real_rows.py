"""The shipped reader on rows of five real test digits, of which it has seen none; nor is it told how many there are."""

import time
from pathlib import Path

import pytest
import torch

from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.rows.reader import RowReader
from lenet_lightning.rows.style import KINDS
from lenet_lightning.zipcode.datamodule import PER_KIND, judged

pytestmark = pytest.mark.real

DATA = Path(__file__).parents[2] / "data"
LEAST = {"apart": 0.98, "touching": 0.95, "overlapping": 0.75, "photographed": 0.85}


@pytest.fixture(scope="module")
def rows():
    return judged(ResidentDigits.read(DATA, train=False), PER_KIND["test"])


@pytest.fixture(scope="module")
def right(rows):
    """Which rows are read as they were written, by kind."""
    readings = RowReader().read([row[0].numpy() for row in rows.images])
    truth = ["".join(map(str, digits[:5])) for digits in rows.labels.tolist()]
    exact = torch.tensor([str(reading) == digits for reading, digits in zip(readings, truth, strict=True)])
    return dict(zip(KINDS, exact.chunk(len(KINDS)), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_kind_are_read(right, kind):
    assert len(right[kind]) == 200
    assert right[kind].double().mean().item() >= LEAST[kind]


def test_a_hundred_rows_are_read_in_less_than_five_seconds(rows):
    reader, strips = RowReader(), [row[0].numpy() for row in rows.images[::8]]
    start = time.perf_counter()
    reader.read(strips)
    assert len(strips) == 100
    assert time.perf_counter() - start < 5
