import math
import re
from functools import partial

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from lenet_lightning import DigitClassifier, weights
from lenet_lightning.errors import UsageError
from lenet_lightning.historical.classifier import HistoricalClassifier
from lenet_lightning.networks import NETWORKS
from lenet_lightning.training import refusals
from lenet_lightning.training.callbacks.weight_average import WeightAverage
from tests.training.plain import PLAIN, QUIET, fit, sgd

pytestmark = QUIET


def test_an_untrained_network_is_as_good_as_a_guess(digits):
    loss = torch.nn.functional.cross_entropy(DigitClassifier()(digits[0]), digits[1])
    assert loss.item() == pytest.approx(math.log(10), abs=0.1)


def test_a_batch_can_be_learned_by_heart(digits):
    torch.manual_seed(1)
    trainer = fit(DigitClassifier(optimizer=sgd(0.02), schedule="constant", averaging=0), digits, 30)
    assert trainer.callback_metrics["val/acc"] == 1.0
    assert trainer.callback_metrics["val/loss"] < 0.05


def test_what_is_logged_counts_every_digit_once(digits):
    """A short last batch weighs as many digits as it holds, and the rate 0 keeps the network as it was."""
    images, labels = digits[0][:70], digits[1][:70]
    torch.manual_seed(1)
    model = DigitClassifier(optimizer=sgd(0.0))
    logits = model(images)
    logged = fit(model, (images, labels), 1, batch_size=32).callback_metrics
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    acc = (logits.argmax(1) == labels).float().mean().item()
    for stage in ("train", "val"):
        assert logged[f"{stage}/loss"].item() == pytest.approx(loss, abs=1e-5)
        assert logged[f"{stage}/acc"].item() == pytest.approx(acc, abs=1e-6)
    assert logged["lr"] == 0.0
    assert logged["epoch"] == 1.0
    assert logged["time/images_per_s"].item() == pytest.approx(70 / logged["time/epoch_s"].item(), rel=1e-3)


def test_label_smoothing_is_in_the_training_loss_alone(digits):
    torch.manual_seed(1)
    model = DigitClassifier(optimizer=sgd(0.02), schedule="constant", label_smoothing=0.2, averaging=0)
    logged = fit(model, digits, 40).callback_metrics
    # no network gets below the entropy of the smoothed target
    floor = -(0.82 * math.log(0.82) + 9 * 0.02 * math.log(0.02))
    assert floor <= logged["train/loss"] < floor + 0.2
    assert logged["val/loss"] < floor


def test_onecycle_rises_to_the_optimizers_rate_and_ends_at_zero(digits):
    rates = []

    class Watched(DigitClassifier):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    fit(Watched(optimizer=sgd(0.1), schedule="onecycle", warmup=0.3), digits, 4)
    assert len(rates) == 20
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert 4 <= peak <= 6
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("warmup", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_onecycle_trains_with_any_number_of_steps(digits, steps, warmup):
    rates = []

    class Watched(DigitClassifier):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    model = Watched(optimizer=sgd(0.1), schedule="onecycle", warmup=warmup)
    before = model.network.linear3.weight.detach().clone()
    fit(model, digits, steps, batch_size=100)
    assert len(rates) == steps
    assert 0.001 < max(rates) <= 0.1
    assert min(rates) > 0
    assert steps == 1 or rates[-1] < 1e-6
    assert not torch.equal(model.network.linear3.weight, before)


def test_onecycle_without_an_end_is_refused(digits):
    with pytest.raises(UsageError, match=r"trainer\.max_epochs or max_steps must be set"):
        fit(DigitClassifier(schedule="onecycle"), digits, -1)


@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        (sgd(0.01), "momentum", 0.9),
        (partial(torch.optim.SGD, lr=0.01), "momentum", 0),
        (partial(torch.optim.AdamW, betas=(0.8, 0.95)), "betas", (0.8, 0.95)),
        (partial(torch.optim.RMSprop, momentum=0.3), "momentum", 0.3),
    ],
)
def test_no_schedule_changes_momentum_or_betas(digits, schedule, optimizer, name, value):
    seen = set()

    class Watched(DigitClassifier):
        def on_train_batch_start(self, *_):
            seen.add(self.trainer.optimizers[0].param_groups[0][name])

    fit(Watched(optimizer=optimizer, schedule=schedule), digits, 2)
    assert seen == {value}


OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}


@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_trains_with_every_schedule_or_is_refused_at_once(digits, name, schedule):
    torch.manual_seed(1)
    if name in ("LBFGS", "Muon", "SparseAdam"):
        with pytest.raises(UsageError, match=rf"^model\.optimizer: .*{name}"):
            refusals.check_optimizer(
                Trainer(accelerator="cpu", logger=False), DigitClassifier(optimizer=OPTIMIZERS[name])
            )
        return
    model = DigitClassifier(optimizer=OPTIMIZERS[name], schedule=schedule)
    before = model.network.linear3.weight.detach().clone()
    logged = fit(model, digits, 2).callback_metrics
    assert logged["train/loss"].isfinite()
    assert not torch.equal(model.network.linear3.weight, before)


def test_averaging_validates_and_keeps_the_average(digits):
    torch.manual_seed(1)
    decay, weights, validated = 0.5, [], []

    class Watched(DigitClassifier):
        def on_train_batch_end(self, *args):
            weights.append(self.network.linear3.weight.detach().clone())

        def on_validation_batch_end(self, *args):
            validated.append(self.network.linear3.weight.detach().clone())

    model = Watched(optimizer=sgd(0.02))
    fit(model, digits, 4, callbacks=[WeightAverage(decay)])
    expected = weights[0]
    for step, weight in enumerate(weights[1:], 1):
        warm = min(decay, (1 + step) / (10 + step))
        expected = warm * expected + (1 - warm) * weight
    for average in (model.network.linear3.weight, validated[-1]):
        torch.testing.assert_close(average, expected, rtol=0, atol=1e-6)


def test_saved_hyper_parameters_are_plain_values():
    class Odd(float):
        """As jsonargparse's restricted types are."""

    model = DigitClassifier(warmup=Odd(0.3), label_smoothing=Odd(0.1))
    assert {type(value) for value in model.hparams.values()} == {str, float}


def test_settings_that_the_optimizer_refuses_are_refused_at_once():
    with pytest.raises(UsageError, match=r"model\.optimizer: Invalid learning rate: -1"):
        refusals.check_optimizer(PLAIN, DigitClassifier(optimizer=sgd(-1.0)))


@pytest.mark.parametrize("network", [*NETWORKS, "own"])
def test_a_checkpoint_of_a_plain_trainer_loads_with_the_average_in_it(digits, tmp_path, network):
    """`load_from_checkpoint` gives the network that was validated."""
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)) if network == "own" else network
    torch.manual_seed(1)
    model = DigitClassifier(own, sgd(0.001))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=2, default_root_dir=tmp_path, callbacks=[WeightAverage(0.9)], **quiet)
    loader = DataLoader(TensorDataset(*digits), 20)
    trainer.fit(model, loader, loader)
    path = trainer.checkpoint_callback.best_model_path
    loaded = DigitClassifier.load_from_checkpoint(path, **({"network": own} if network == "own" else {}))
    (validated,) = trainer.validate(model, loader, verbose=False)
    (metrics,) = trainer.validate(loaded, loader, verbose=False)
    assert metrics == validated
    (tested,) = trainer.test(loaded, loader, verbose=False)
    assert tested["test/acc"] == metrics["val/acc"]
    predicted = torch.cat(trainer.predict(loaded, loader))
    alone = torch.cat([loaded.eval()(some) for some in digits[0].split(20)])  # all at once would round differently
    torch.testing.assert_close(predicted, alone, rtol=0, atol=1e-6)


def test_a_network_of_no_known_name_is_refused():
    with pytest.raises(ValueError, match="network must be one of lenet5, lenet5_1998, lenet1 or a module, got lenet6"):
        DigitClassifier("lenet6")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", torch.nn.Linear),
        ("optimizer", "Adam"),
        ("schedule", "cosine"),
        ("schedule_interval", "week"),
        ("warmup", 2.0),
        ("label_smoothing", -1),
    ],
)
def test_arguments_from_python_are_held_to_their_ranges(name, value):
    with pytest.raises(ValueError, match=f"^{name}.*{re.escape(str(value))}"):
        DigitClassifier(**{name: value})


def test_a_loss_of_no_known_name_is_refused():
    with pytest.raises(ValueError, match="loss must be one of cross_entropy, rbf_mse, rbf_map, got mse"):
        HistoricalClassifier(loss="mse")


def test_no_decay_is_above_one():
    with pytest.raises(ValueError, match="decay must be from 0 to below 1, got 2"):
        WeightAverage(2)


def test_a_loss_of_ones_own_is_trained_and_validated(digits):
    class Own(DigitClassifier):
        def loss(self, logits, labels):
            return torch.nn.functional.multi_margin_loss(logits, labels) + 100

    logged = fit(Own(optimizer=sgd(0.01)), digits, 1).callback_metrics
    assert logged["train/loss"] > 100
    assert logged["val/loss"] > 100


def test_training_begins_with_the_weights_of_a_file(digits):
    model = DigitClassifier(weights=weights.SHIPPED, optimizer=sgd(0.0))
    fit(model, digits, 1, callbacks=[WeightAverage(0.9)])
    state, _ = weights.read(weights.SHIPPED)
    assert all(torch.equal(values, state[name]) for name, values in model.network.state_dict().items())
    with pytest.raises(UsageError, match="must have weights of LeNet1, has those of LeNet5"):
        DigitClassifier("lenet1", weights=str(weights.SHIPPED))


def test_a_fit_does_not_go_on_with_another_optimizer(digits, tmp_path):
    """`load_from_checkpoint` cannot know its class, and the state of one means nothing to another."""
    constant = {"schedule": "constant", "averaging": 0}
    path = tmp_path / "x.ckpt"
    fit(DigitClassifier(**constant), digits, 1).save_checkpoint(path)
    loader = DataLoader(TensorDataset(*digits), 20)

    def resume(**arguments):
        model = DigitClassifier.load_from_checkpoint(path, **constant, **arguments)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet)
        trainer.fit(model, loader, loader, ckpt_path=path)
        return trainer

    with pytest.raises(UsageError, match=r"its .*betas.* but not its class, got SGD; pass it: load_from_checkpoint"):
        resume(optimizer=sgd(0.001))
    assert resume().current_epoch == 2


def test_validate_outside_of_a_fit_returns_the_metrics_alone(digits):
    model = DigitClassifier(optimizer=sgd(0.02))
    trainer = fit(model, digits, 2)
    (metrics,) = trainer.validate(model, DataLoader(TensorDataset(*digits), 20), verbose=False)
    assert metrics.keys() == {"val/loss", "val/acc"}


def test_example_input_fits():
    model = DigitClassifier()
    assert model(model.example_input_array).shape == (1, 10)
