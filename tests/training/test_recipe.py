"""The recipe of configs/default.yaml is what Python does without arguments; the tutorial's has a line of its own."""

import csv
import inspect
import warnings

import pytest
import torch
import yaml
from lightning import Trainer, seed_everything

from lenet_lightning import DigitClassifier, MNISTDataModule, recipes
from lenet_lightning.data.augment import Distortion
from lenet_lightning.training.callbacks.weight_average import WeightAverage
from tests.training.plain import fit, sgd
from tests.training.test_cli import CONFIGS, the_runs

DEFAULTS = {each: inspect.signature(each).parameters for each in (DigitClassifier, recipes.classifier, MNISTDataModule)}


def config(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("made", [DigitClassifier, recipes.classifier])
def test_the_classifiers_defaults_are_those_of_the_config(made):
    asked, defaults = config("default")["model"], DEFAULTS[made]
    optimizer = defaults["optimizer"].default([torch.nn.Parameter(torch.zeros(1))])
    assert asked.keys() == {"optimizer", "schedule"}
    assert asked["optimizer"]["class_path"] == f"torch.optim.{type(optimizer).__name__}"
    assert optimizer.defaults | asked["optimizer"]["init_args"] == optimizer.defaults
    assert defaults["schedule"].default == asked["schedule"]


def test_the_datas_defaults_are_those_of_the_config():
    asked, defaults = config("default")["data"], DEFAULTS[MNISTDataModule]
    assert asked.keys() == {"batch_size", "distortion"}
    assert defaults["batch_size"].default == asked["batch_size"]
    assert defaults["distortion"].default == Distortion(**asked["distortion"])


def test_the_average_is_that_of_the_config():
    assert DEFAULTS[DigitClassifier]["averaging"].default == config("default")["averaging"]
    assert inspect.signature(WeightAverage).parameters["decay"].default == config("default")["averaging"]


TUTORIAL = (
    {"optimizer": sgd(0.001), "schedule": "constant", "averaging": 0},
    {"batch_size": 64, "distortion": Distortion()},
)


@pytest.mark.parametrize(("name", "recipe"), [("default", ({}, {})), ("tutorial", TUTORIAL)])
@pytest.mark.parametrize("epochs", [1, 3])
def test_python_and_the_command_line_train_alike_digit_for_digit(command, fake_mnist, name, recipe, epochs):
    options = ("--trainer.limit_test_batches=0", "--pictures=false", "--trainer.limit_train_batches=5")
    logger = "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV"
    path = CONFIGS / f"{name}.yaml"
    command("fit", "--config", path, *options, logger, f"--trainer.max_epochs={epochs}", "--data.val_size=1000")
    (run,) = the_runs()
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))

    model_arguments, data_arguments = recipe
    seed_everything(1)
    model = DigitClassifier(**model_arguments)
    data = MNISTDataModule(str(fake_mnist), val_size=1000, **data_arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers|.*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", ".*smaller than the logging interval")
        trainer = Trainer(
            max_epochs=epochs,
            limit_train_batches=5,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, data)
        logged = {metric: value.item() for metric, value in trainer.callback_metrics.items()}
        (validated,) = trainer.validate(model, data, verbose=False)
    for metric in ("train/loss", "train/acc", "val/loss", "val/acc", "lr"):
        assert logged[metric] == pytest.approx(float(rows[-1][metric]), rel=1e-6), metric
    assert validated == {metric: logged[metric] for metric in ("val/loss", "val/acc")}


def averages(trainer):
    return [each.decay for each in trainer.callbacks if isinstance(each, WeightAverage)]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")
def test_a_trainers_own_average_takes_the_place_of_the_models(digits):
    assert averages(fit(DigitClassifier(), digits, 1)) == [0.998]
    assert averages(fit(DigitClassifier(averaging=0), digits, 1)) == []
    assert averages(fit(DigitClassifier(), digits, 1, callbacks=[WeightAverage(0.5)])) == [0.5]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")
def test_a_trainer_that_averaged_validates_the_network_that_it_is_given(digits):
    """Not the average of another one, which it still has."""
    trainer = fit(DigitClassifier(), digits, 2)
    other = DigitClassifier()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*digits), 20)
    (metrics,) = trainer.validate(other, loader, verbose=False)
    loss = torch.nn.functional.cross_entropy(other.eval()(digits[0]), digits[1])
    assert metrics["val/loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_decay_is_held_to_its_range():
    with pytest.raises(ValueError, match=r"^averaging: .*1\.5"):
        DigitClassifier(averaging=1.5)
