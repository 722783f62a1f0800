import gzip
import hashlib
import re
from functools import partial

import numpy as np
import pytest
import torch
from lightning import Fabric, LightningModule, Trainer

from lenet_lightning import DigitClassifier, MNISTDataModule
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
    pixels = torch.cat([images for images, _ in batches]) * 0.3081 + 0.1307
    assert torch.equal(pixels.mul(255).round().byte(), whole.images)
    assert torch.equal(torch.cat([labels for _, labels in batches]), whole.labels)


def test_every_training_digit_once_per_epoch_each_epoch_in_its_own_order(module):
    data = module(val_size=58_000, batch_size=300, distortion=Distortion())
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


def test_a_distortion_weakens_as_the_trainers_epochs_end(module):
    def distorted(epoch):  # a shift by less than a pixel mixes bytes
        training = (torch.cat([images for images, _ in epoch]) * 0.3081 + 0.1307) * 255
        return ((training - training.round()).abs() > 0.01).float().mean()

    strengths = [distorted(e) for e in record(module(distortion=Distortion(shift=3, end=0)), 5, batches=2)["train"][1:]]
    assert min(strengths[:4]) > 0.1 and strengths[4] == 0


def test_mean_and_std_stay_out_of_background(module):
    """What a distortion pulls in from outside is black, not mean grey."""
    data = module(batch_size=100, distortion=Distortion(shift=6))
    images = record(data, batches=1)["train"][1][0][0]
    torch.testing.assert_close(images.min().item(), -0.1307 / 0.3081, rtol=0, atol=1e-5)


def test_outside_of_a_trainer_batches_are_those_of_a_trainer(module):
    data = module(val_size=2_000)
    data.setup()
    assert [len(each) for each in (data.train, data.val, data.test)] == [58_000, 2_000, 10_000]
    image, label = data.train[0]
    assert (image.shape, image.dtype, label.shape) == ((1, 28, 28), torch.uint8, ())
    within = record(module(val_size=2_000), batches=1)
    assert torch.equal(next(iter(data.val_dataloader()))[0], within["val"][0][0])
    for loader in (data.train_dataloader(), data.test_dataloader()):
        images, labels = next(iter(loader))
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        torch.testing.assert_close(images.min().item(), -0.1307 / 0.3081, rtol=0, atol=1e-5)


def test_outside_of_a_trainer_training_images_are_distorted_anew(module):
    data = module(batch_size=100, distortion=Distortion(shift=3))
    data.setup("fit")
    first, second = (next(iter(data.train_dataloader()))[0] for _ in range(2))
    assert not torch.equal(first, second)
    pixels = (first * 0.3081 + 0.1307) * 255
    assert (pixels - pixels.round()).abs().max() > 0.1


QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.mark.parametrize("attached", [False, True])
def test_a_trainer_takes_the_loaders_alone(module, attached):
    data, model = module(), DigitClassifier()
    short = {f"limit_{stage}_batches": 2 for stage in ("train", "val", "test")}
    trainer = Trainer(max_epochs=1, enable_checkpointing=False, num_sanity_val_steps=0, **short, **QUIET)
    if attached:
        trainer.fit(model, datamodule=data)
    else:
        data.setup("fit")
        trainer.fit(model, data.train_dataloader(), data.val_dataloader())
    data.setup("test")
    (alone,) = trainer.test(model, data.test_dataloader(), verbose=False)
    assert alone.keys() == {"test/loss", "test/acc"}
    assert [alone] == trainer.test(model, datamodule=data, verbose=False)


def test_fabric_takes_the_loaders(module):
    data = module()
    data.setup("fit")
    fabric = Fabric(accelerator="cpu", devices=1)
    images, _ = next(iter(fabric.setup_dataloaders(data.train_dataloader())))
    assert DigitClassifier()(images).shape == (data.batch_size, 10)


def test_predictions_are_of_the_test_digits_in_order(module):
    model, data = DigitClassifier(), module()
    trainer = Trainer(**QUIET)
    predicted = torch.cat(trainer.predict(model, datamodule=data))
    assert predicted.shape == (10_000, 10)
    alone = torch.cat(trainer.predict(model, data.test_dataloader()))
    torch.testing.assert_close(predicted, alone, rtol=0, atol=0)
    images, _ = next(iter(data.test_dataloader()))
    torch.testing.assert_close(predicted[:1_000], model.eval()(images), rtol=0, atol=1e-5)


def test_a_checkpoint_restores_the_split_and_the_pixels(other, tmp_path):
    data = other(root=str(tmp_path), batch_size=32, val_size=700, split_seed=3, mean=0.2, std=0.4)
    saved = {"datamodule_hyper_parameters": dict(data.hparams), "pytorch-lightning_version": "2.6.6"}
    torch.save(saved, tmp_path / "x.ckpt")
    loaded = MNISTDataModule.load_from_checkpoint(tmp_path / "x.ckpt", root="elsewhere")
    names = ("name", "files", "batch_size", "val_size", "split_seed", "mean", "std")
    assert [getattr(loaded, name) for name in names] == [getattr(data, name) for name in names]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("val_size", 60_000),
        ("split_seed", -1),
        ("mean", float("nan")),
        ("std", 0),
        ("distortion", {"rotation": 3}),
    ],
)
def test_arguments_from_python_are_held_to_their_ranges(name, value):
    with pytest.raises(ValueError, match=f"^{name}.*{re.escape(str(value))}"):
        MNISTDataModule(**{name: value})


def test_no_distortion_is_negative():
    with pytest.raises(ValueError, match=r"distortion\.rotation: -5"):
        Distortion(rotation=-5)
    with pytest.raises(ValueError, match=r"distortion\.end: 1.5"):
        Distortion(end=1.5)


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
