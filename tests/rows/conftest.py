import numpy as np
import pytest

from lenet_lightning.rows.reader import RowReader
from lenet_lightning.rows.synthesis import Writer


@pytest.fixture(scope="session")
def writer():
    """Who writes with ten blots of ink, each a digit: quick to make, of the size of MNIST's."""
    draw = np.random.default_rng(0)
    images = np.zeros((10, 28, 28), np.uint8)
    for image in images:
        image[4:24, 8:20] = np.where(np.kron(draw.random((5, 3)) < 0.6, np.ones((4, 4), bool)), 255, 0)
    return Writer(images, np.arange(10))


@pytest.fixture(scope="session")
def reader():
    """The reader with the shipped weights."""
    return RowReader()
