import gzip
import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from lenet_lightning import MNISTDataModule
from lenet_lightning.data import files
from lenet_lightning.data.augment import Distortion
from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.data.download import MIRRORS
from lenet_lightning.errors import RunError, UsageError


@pytest.fixture
def module(fake_mnist):
    def make(**settings):
        return MNISTDataModule(root=str(fake_mnist), **settings)

    return make


class Recorder(LightningModule):
    """Takes batches as a network would, and keeps them."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [[]], "val": [], "test": []}

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            self.seen["train"].append([])
        self.seen["train"][-1].append(batch)
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append(batch)

    def test_step(self, batch, batch_idx):
        self.seen["test"].append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def record(data, epochs=1, seed=1, batches=None):
    torch.manual_seed(seed)
    recorder = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        limit_train_batches=batches,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(recorder, datamodule=data)
    return recorder.seen


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def rows(digits):
    """Each digit as one hashable value."""
    return [bytes(row) for row in digits.images.flatten(1).numpy()]


def test_split_is_disjoint_whole_and_its_own_seeds(module, fake_mnist):
    torch.manual_seed(5)
    first = module()
    first.setup("fit")
    torch.manual_seed(6)
    second = module()
    second.setup("fit")
    assert (len(first.train), len(first.val)) == (55_000, 5_000)
    assert torch.equal(first.val.images, second.val.images)  # the training seed does not move it
    whole = ResidentDigits.read(fake_mnist, train=True)
    assert sorted(rows(first.train) + rows(first.val)) == sorted(rows(whole))
    assert not set(rows(first.train)) & set(rows(first.val))
    other = module(split_seed=1)
    other.setup("fit")
    assert not torch.equal(first.val.images, other.val.images)


def test_validate_sees_the_validation_digits_that_fit_kept_apart(module):
    fit, validate = module(val_size=700), module(val_size=700)
    fit.setup("fit")
    validate.setup("validate")
    assert torch.equal(fit.val.images, validate.val.images)
    assert not hasattr(validate, "train")
    assert not hasattr(validate, "test")


def test_test_is_the_ten_thousand_in_order(module, fake_mnist):
    data = module()
    data.setup("test")
    batches = list(data.test_dataloader())
    assert sum(len(labels) for _, labels in batches) == 10_000
    whole = ResidentDigits.read(fake_mnist, train=False)
    assert torch.equal(torch.cat([images for images, _ in batches]), whole.images)
    assert torch.equal(torch.cat([labels for _, labels in batches]), whole.labels)


def test_every_training_digit_once_per_epoch_each_epoch_in_its_own_order(module):
    data = module(val_size=58_000, batch_size=300)
    seen = record(data, epochs=2)["train"][1:]
    orders = [torch.cat([images for images, _ in epoch]) for epoch in seen]
    expected = sorted(rows(data.train))
    for order in orders:
        pixels = (order * 0.3081 + 0.1307).mul(255).round().byte()
        assert sorted(bytes(row) for row in pixels.flatten(1).numpy()) == expected
    assert not torch.equal(*orders)
    assert [len(labels) for _, labels in seen[0]] == [300] * 6 + [200]  # the short last batch counts too


def test_order_and_distortion_are_functions_of_seed_and_epoch(module):
    settings = {"batch_size": 50, "distortion": Distortion(rotation=10, elastic=0.5)}

    def batches(seed, epochs):
        return [torch.cat([i for i, _ in epoch]) for epoch in record(module(**settings), epochs, seed, 3)["train"][1:]]

    first, again, other = batches(1, 2), batches(1, 2), batches(2, 2)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1])
    # seed 2's first epoch is not seed 1's second: neighbouring seeds share nothing
    assert not any(torch.equal(a, b) for a in first for b in other)


def test_images_are_normalised_and_only_training_is_distorted(module):
    data = module(batch_size=100, distortion=Distortion(shift=3))
    seen = record(data, batches=2)
    validation, labels = seen["val"][0]
    assert validation.shape == (1_000, 1, 28, 28)
    assert (validation.dtype, labels.dtype) == (torch.float32, torch.int64)
    expected = (data.val.images[:1_000].float() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(validation, expected, rtol=0, atol=1e-6)
    training = (seen["train"][1][0][0] * 0.3081 + 0.1307) * 255
    assert (training - training.round()).abs().max() > 0.1


def test_mean_and_std_stay_out_of_background(module):
    """What a distortion pulls in from outside is black, not mean grey."""
    data = module(batch_size=100, distortion=Distortion(shift=6))
    images = record(data, batches=1)["train"][1][0][0]
    torch.testing.assert_close(images.min().item(), -0.1307 / 0.3081, rtol=0, atol=1e-5)


@pytest.fixture
def other(tmp_path, fake_mnist):
    """A data set of MNIST's shape with other content, packed as a mirror has it, and what makes its module."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    sums = []
    for file in files.FILES:
        content = np.fromfile(fake_mnist / "MNIST" / "raw" / file.name, np.uint8)
        if "images" in file.name:
            content[16:] = 255 - content[16:]
        sums.append(hashlib.sha256(content).hexdigest())
        (mirror / f"{file.name}.gz").write_bytes(gzip.compress(content.tobytes(), 0))
    return partial(MNISTDataModule, mirrors=(mirror.as_uri(),), name="Other", sums=sums)


def test_another_data_set_of_the_same_shape_has_a_name_and_sums(other, fake_mnist, tmp_path, capfd):
    data = other(root=str(tmp_path), mean=0.5, std=0.25)
    seen = record(data, batches=1)
    assert capfd.readouterr().err.startswith("Other: fetching train-images-idx3-ubyte.gz from file://")
    assert {path.name for path in (tmp_path / "Other" / "raw").glob("*ubyte")} == {file.name for file in files.FILES}
    mnist = MNISTDataModule(root=str(fake_mnist))
    for each in (data, mnist):
        each.setup("fit")
        each.setup("test")
    assert torch.equal(data.test.images, 255 - mnist.test.images)
    assert torch.equal(data.train.images, 255 - mnist.train.images)
    assert torch.equal(data.train.labels, mnist.train.labels)
    expected = (data.val.images[:1_000].float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(seen["val"][0][0], expected, rtol=0, atol=1e-6)


def test_another_data_set_is_verified_by_its_own_sums(other, fake_mnist, tmp_path, capfd):
    raw = tmp_path / "Other" / "raw"
    raw.mkdir(parents=True)
    for file in files.FILES:  # what is right for MNIST is wrong here
        (raw / file.name).symlink_to(fake_mnist / "MNIST" / "raw" / file.name)
    with pytest.raises(RunError, match="wrong SHA-256 sum"):
        other(root=str(tmp_path)).setup("test")
    with pytest.raises(RunError, match="Other is not complete") as failure:
        other(root=str(tmp_path), mirrors=((tmp_path / "none").as_uri(),)).prepare_data()
    assert "wheel" not in str(failure.value) + capfd.readouterr().err  # it holds MNIST
    other(root=str(tmp_path)).prepare_data()
    other(root=str(tmp_path)).setup("test")


def test_mnists_mirrors_are_not_asked_for_another_data_set(other, tmp_path, capfd):
    with pytest.raises(RunError, match="Other is not complete"):
        other(root=str(tmp_path / "none"), mirrors=MIRRORS).prepare_data()
    assert "http" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "Other"}, r"data\.name and data\.sums must be given together.*got no sums"),
        ({"sums": ["0" * 64] * 4}, "must be given together.*got no name"),
        ({"name": "../x", "sums": ["0" * 64] * 4}, "../x does not match"),
        ({"name": "Other", "sums": ["0" * 63] * 4}, "0 does not match"),
        ({"name": "Other", "sums": ["0" * 64] * 3}, "shorter"),
    ],
)
def test_a_data_set_without_four_sums_is_refused(settings, said):
    with pytest.raises((UsageError, ValueError), match=said):
        MNISTDataModule(**settings)
