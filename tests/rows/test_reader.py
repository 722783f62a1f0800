import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import SeedSequence
from safetensors.torch import save_file

from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.rows.network import SweptLeNet5
from lenet_lightning.rows.reader import SHIPPED, RowReader
from lenet_lightning.rows.style import TRAINING


def strokes(*columns, width=None, thick=3):
    """A strip with a straight stroke, a 1, at each of these columns."""
    strip = np.zeros((28, width or max(columns) + 20), np.uint8)
    for column in columns:
        strip[4:24, column : column + thick] = 255
    return strip


def equal(a, b):
    assert (str(a), a.second) == (str(b), b.second)
    assert a.probability == pytest.approx(b.probability, abs=1e-4)
    for x, y in zip(a.digits, b.digits, strict=True):
        assert (x.left, x.right) == (y.left, y.right)
        np.testing.assert_allclose(x.probabilities, y.probabilities, atol=1e-4)


@pytest.mark.parametrize("columns", [(20,), (20, 40), (12, 24, 36, 48, 60), (0, 30, 77)])
def test_strokes_are_ones_where_they_are(reader, columns):
    (reading,) = reader.read([strokes(*columns)])
    assert str(reading) == "1" * len(columns)
    assert [(digit.left, digit.right) for digit in reading.digits] == [(at, at + 3) for at in columns]


@pytest.mark.parametrize("width", [8, 100, 5_001])
def test_paper_is_no_digit(reader, width):
    (reading,) = reader.read([np.zeros((28, width), np.uint8)])
    assert reading.digits == ()
    assert str(reading) == ""
    assert reading.probability > 0.9


def sound(reading, width):
    """What holds for every reading."""
    assert 0 <= reading.probability <= 1
    assert reading.second != str(reading) or not reading.digits
    for digit in reading.digits:
        assert 0 <= digit.digit <= 9
        assert digit.probabilities.shape == (10,)
        assert digit.probabilities.sum() == pytest.approx(1)
        assert 0 <= digit.probability <= digit.probabilities[digit.digit] + 1e-9
        assert 0 <= digit.left < digit.right <= width


@settings(max_examples=40, deadline=None)
@given(strip=st.integers(8, 90).flatmap(lambda wide: arrays(np.uint8, (28, wide))))
def test_any_strip_has_a_sound_reading(reader, strip):
    (reading,) = reader.read([strip])
    sound(reading, strip.shape[1])


def test_a_reading_does_not_depend_on_its_company(reader, writer):
    strips = [writer.row(TRAINING, SeedSequence(seed))[0] for seed in range(20)]
    strips += [strokes(20, 50), np.zeros((28, 9), np.uint8), strokes(3, width=901)]
    for strip, reading in zip(strips, reader.read(strips), strict=True):
        sound(reading, strip.shape[1])
        equal(reading, reader.read([strip])[0])


def test_margins_change_nothing(reader):
    strip = strokes(0, 14, width=17)
    (bare,) = reader.read([strip])
    (wide,) = reader.read([np.pad(strip, ((0, 0), (40, 40)))])
    assert str(bare) == str(wide) == "11"
    assert [d.left + 40 for d in bare.digits] == [d.left for d in wide.digits]


@pytest.mark.parametrize("kind", ["paper", "strokes", "noise"])
def test_a_strip_of_ten_thousand_columns_is_read_in_seconds(reader, kind):
    strip = {
        "paper": lambda: np.zeros((28, 10_000), np.uint8),
        "strokes": lambda: strokes(*range(5, 9_980, 15), width=10_000),
        "noise": lambda: np.random.default_rng(0).integers(0, 256, (28, 10_000), np.uint8),
    }[kind]()
    start = time.process_time()
    (reading,) = reader.read([strip])
    assert time.process_time() - start < 20
    sound(reading, 10_000)
    if kind == "strokes":
        assert str(reading) == "1" * len(range(5, 9_980, 15))


def test_a_hundred_rows_take_less_than_five_seconds(reader):
    rows = [strokes(*range(10 + at % 7, 100, 18), width=120) for at in range(100)]
    start = time.process_time()
    reader.read(rows)
    assert time.process_time() - start < 5


def test_no_strips_are_no_readings(reader):
    assert reader.read([]) == []


@pytest.mark.parametrize(
    ("strip", "what"),
    [
        (np.zeros((28, 28), np.float32), "float32 (28, 28)"),
        (np.zeros((27, 28), np.uint8), "uint8 (27, 28)"),
        (np.zeros((28, 28, 3), np.uint8), "uint8 (28, 28, 3)"),
        (np.zeros((28, 7), np.uint8), "has 7"),
        (np.broadcast_to(np.uint8(0), (28, 10**9)), "has 1,000,000,000"),
        ([[0]], "list"),
    ],
)
def test_what_is_no_strip_is_refused_by_its_number(reader, strip, what):
    with pytest.raises(UsageError) as refused:
        reader.read([strokes(5), strip])
    assert str(refused.value).startswith("strips[1]: must be ")
    assert what in str(refused.value)


def test_weights_that_are_none_are_refused_by_the_files_name(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match="no such weights file"):
        RowReader(path)
    path.write_bytes(SHIPPED.read_bytes()[:1_000])
    with pytest.raises(RunError, match=r"w\.safetensors: must be a \.safetensors file"):
        RowReader(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(RunError, match=r"w\.safetensors: must have weights of SweptLeNet5"):
        RowReader(path)
    state = SweptLeNet5().state_dict()
    save_file(state | {"conv1.bias": torch.full((len(state["conv1.bias"]),), torch.nan)}, path)
    with pytest.raises(RunError, match=r"not finite in conv1\.bias"):
        RowReader(path)
