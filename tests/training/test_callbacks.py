"""The callbacks with a plain Trainer and a module of someone else's."""

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from lenet_lightning.errors import RunError
from lenet_lightning.evaluation.metrics import rejection_curve
from lenet_lightning.training.callbacks.epoch_metrics import EpochMetrics
from lenet_lightning.training.callbacks.exact_resume import ExactResume
from lenet_lightning.training.callbacks.finite_values import FiniteValues
from lenet_lightning.training.callbacks.predictions import Predictions
from lenet_lightning.training.callbacks.progress import EpochLines
from lenet_lightning.training.callbacks.run_start import RunStart
from tests.training.plain import QUIET

pytestmark = QUIET


class Linear(LightningModule):
    """A module that knows nothing of this package."""

    def __init__(self, rate=0.1):
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
        self.rate = rate

    def training_step(self, batch, batch_idx):
        logits = self.network(batch[0])
        return {"loss": torch.nn.functional.cross_entropy(logits, batch[1]), "logits": logits.detach()}

    def test_step(self, batch, batch_idx):
        return self.network(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.rate)


def trainer(*callbacks, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    bar = any(isinstance(each, EpochLines) for each in callbacks)
    return Trainer(callbacks=list(callbacks), enable_progress_bar=bar, **(quiet | {"max_epochs": 2} | options))


@pytest.fixture
def loader(digits):
    return DataLoader(TensorDataset(*digits), 30)


def test_the_metrics_of_an_epoch_are_means_over_its_samples(digits, loader):
    torch.manual_seed(1)
    model = Linear(rate=0.0)
    metrics = EpochMetrics()
    plain = trainer(metrics)
    plain.fit(model, loader)
    logged, logits = plain.callback_metrics, model.network(digits[0])
    loss = torch.nn.functional.cross_entropy(logits, digits[1])
    assert logged["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert logged["train/acc"].item() == pytest.approx((logits.argmax(1) == digits[1]).double().mean().item())
    assert logged["epoch"] == 2
    assert metrics.training_seconds >= logged["time/epoch_s"].item() > 0


def test_accumulated_batches_count_with_their_own_loss(digits, loader):
    torch.manual_seed(1)
    model, plain = Linear(rate=0.0), trainer(EpochMetrics(), accumulate_grad_batches=4)
    plain.fit(model, loader)
    loss = torch.nn.functional.cross_entropy(model.network(digits[0]), digits[1])
    assert plain.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_a_training_that_diverges_ends_with_the_step(digits, loader, where):
    model = Linear(rate=float("inf") if where == "weights" else 0.1)
    images = digits[0].clone()
    if where == "loss":
        images[70] = float("nan")  # in the third batch
    with pytest.raises(RunError, match=f"must be finite, was not at step {3 if where == 'loss' else 2}"):
        trainer(FiniteValues()).fit(model, DataLoader(TensorDataset(images, digits[1]), 30))


def test_the_predictions_of_a_test_are_kept_in_order(digits, loader):
    model, predictions = Linear(), Predictions()
    plain = trainer(predictions)
    (metrics,) = plain.test(model, loader, verbose=False)
    with torch.no_grad():
        torch.testing.assert_close(predictions.logits, model.network(digits[0]))
    assert torch.equal(predictions.labels, digits[1])
    rejected, wrong = rejection_curve(predictions.logits, predictions.labels)
    assert metrics["test/rejected_for_error_0.01"] == pytest.approx(rejected[wrong <= 0.01].min().item())


def test_an_epoch_is_a_line(loader, capfd):
    trainer(EpochMetrics(), EpochLines()).fit(Linear(), loader)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split("   ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("train loss" in line for line in lines)


def test_random_states_are_those_of_the_checkpoint_when_a_training_resumes(loader, tmp_path):
    drawn = []

    class Drawing(Linear):
        def on_train_epoch_start(self):
            drawn.append((np.random.rand(), torch.rand(1).item()))

    plain = trainer(ExactResume({"version": 1}), max_epochs=1)
    plain.fit(Drawing(), loader)
    plain.save_checkpoint(tmp_path / "x.ckpt")
    expected = np.random.rand(), torch.rand(1).item()
    resumed = trainer(ExactResume({"version": 1}), max_epochs=2)
    resumed.fit(Drawing(), loader, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert drawn[1:] == [expected]


def test_a_run_starts_with_its_config_and_the_link_to_it(loader, tmp_path, capfd):
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    trainer(RunStart(run, "seed: 1\n", {}), max_epochs=1).fit(Linear(), loader)
    assert (run / "config.yaml").read_text() == "seed: 1\n"
    assert (tmp_path / "runs" / "latest").resolve() == run
    assert "7,850 parameters" in capfd.readouterr().out
