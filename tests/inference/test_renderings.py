"""Validation digits as people would send them, read by the weights that come with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_lightning import MNISTDataModule, Recognizer, weights
from lenet_lightning.inference import picture
from tests.inference import renderings

ROOT = Path(__file__).parents[2]
COUNT = 200

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def digits():
    """The first 200 validation digits of the default split, (200, 28, 28) uint8."""
    data = MNISTDataModule(root=str(ROOT / "data"))
    data.prepare_data()
    data.setup("validate")
    return data.val.images[:COUNT].squeeze(1).numpy()


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(weights.SHIPPED)


def agreeing(rendering, digits, recognizer):
    """The number of digits that are read as in the original."""
    rng = np.random.default_rng(0)
    answers = recognizer.answers([picture.frame(rendering(digit, rng)) for digit in digits])
    expected = recognizer.logits(digits).argmax(1)
    wrong = [n for n, (answer, digit) in enumerate(zip(answers, expected, strict=True)) if answer.digit != digit]
    print(f"{rendering.__name__}: {1 - len(wrong) / len(digits):.1%} as in the original, others: {wrong}")
    return len(digits) - len(wrong)


def test_clean_renderings_are_read_as_their_originals(digits, recognizer):
    each = [agreeing(rendering, digits, recognizer) for rendering in renderings.CLEAN]
    assert sum(each) >= 0.99 * COUNT * len(renderings.CLEAN)


@pytest.mark.parametrize("rendering", [*renderings.PHOTO, renderings.phone], ids=lambda style: style.__name__)
def test_photos_are_read_as_their_originals(rendering, digits, recognizer):
    assert agreeing(rendering, digits, recognizer) >= 0.95 * COUNT


def test_zip_codes_are_read_digit_by_digit(digits, recognizer):
    rng = np.random.default_rng(0)
    expected = recognizer.logits(digits).argmax(1)
    right = silent = 0
    for _ in range(100):
        chosen = rng.integers(0, COUNT, 5)
        row = renderings.row([digits[n] for n in chosen], rng)
        answer = recognizer.line(row)
        is_right = answer.text == "".join(map(str, expected[chosen].tolist()))
        right += is_right
        silent += not is_right and answer.probability >= 0.95 and answer.notice is None
    print(f"{right} of 100 zip codes read right, {silent} wrong though sure and without a notice")
    assert right >= 90 and silent == 0


def test_the_shipped_weights_are_those_of_their_results(recognizer):
    data = MNISTDataModule(root=str(ROOT / "data"))
    data.setup("test")
    read = recognizer.logits(data.test.images.squeeze(1).numpy()).argmax(1)
    correct = int((torch.from_numpy(read) == data.test.labels).sum())
    assert correct == round(recognizer.metadata["test/acc"] * 10_000)
