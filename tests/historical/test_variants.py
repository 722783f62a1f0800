from functools import partial

import pytest
import torch

from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.dataset import derive_seed
from lenet_lightning.historical.variants import VariedDigits, VariedMNIST
from tests.data.test_datamodule import record

KINDS = 4


@pytest.fixture
def digits():
    images = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 8:20, 11:17] = torch.randint(1, 256, (200, 1, 12, 6), dtype=torch.uint8)

    def make(seed=1):
        made = VariedDigits(
            images,
            torch.arange(200),
            Distortion(shift=3, shear=0.2),
            KINDS - 1,
            partial(derive_seed, seed),
            lambda: made.now,
        )
        return made

    make.images = images
    return make


def shown(digits, epochs):
    pictures = []
    for epoch in epochs:
        digits.now = epoch
        pictures.append(digits.__getitems__(range(200))[0])
    return pictures


def test_in_a_round_of_epochs_each_digit_is_shown_once_as_it_is_and_once_as_each_variant(digits):
    first, second = shown(digits(), range(KINDS)), shown(digits(), range(KINDS, 2 * KINDS))
    for n in range(200):
        kinds = {picture[n].numpy().tobytes() for picture in first}
        assert len(kinds) == KINDS
        assert digits.images[n].numpy().tobytes() in kinds
        assert kinds == {picture[n].numpy().tobytes() for picture in second}


def test_about_equally_many_digits_are_as_they_are_in_each_epoch(digits):
    for picture in shown(digits(), range(KINDS)):
        assert 200 / KINDS / 2 < picture.eq(digits.images).flatten(1).all(1).sum() < 200 / KINDS * 2


def test_variants_follow_from_seed_and_epoch_alone(digits):
    straight, jumped = digits(), digits()
    assert torch.equal(shown(straight, range(3))[-1], shown(jumped, [2])[-1])
    assert not torch.equal(shown(digits(), [2])[-1], shown(digits(seed=2), [2])[-1])


def test_the_digits_given_stay_as_they_are(digits):
    before = digits.images.clone()
    shown(digits(), range(KINDS))
    assert torch.equal(digits.images, before)


@pytest.mark.filterwarnings("ignore")  # Lightning's own on short epochs
def test_fit_shows_them_epoch_by_epoch(fake_mnist):
    data = VariedMNIST(
        root=str(fake_mnist),
        val_size=59_000,
        batch_size=250,
        variants=1,
        distortion=Distortion(shift=3),
        mean=0.0,
        std=1.0,
    )
    _, first, second = (
        torch.cat([images for images, _ in epoch]) if epoch else None for epoch in record(data, 2)["train"]
    )
    # all that is shown in two epochs: each digit once as it is
    originals = {image.numpy().tobytes() for image in data.originals.images[:, 0]}
    as_bytes = [(image[0] * 255).round().byte().numpy().tobytes() for image in torch.cat([first, second])]
    assert sum(image in originals for image in as_bytes) == 1_000


def test_variants_without_a_distortion_are_refused():
    with pytest.raises(ValueError, match=r"data\.variants"):
        VariedMNIST(variants=9, distortion=Distortion())


def test_variants_do_not_weaken_as_they_are_fixed(tmp_path):
    with pytest.raises(ValueError, match=r"data\.variants must be 0 where data\.distortion weakens, got 9"):
        VariedMNIST(root=str(tmp_path), distortion=Distortion(shift=1, end=0.5))
