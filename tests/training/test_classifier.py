import math
from functools import partial
from itertools import pairwise
from typing import get_args, get_type_hints

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from lenet_lightning import DigitClassifier
from lenet_lightning.errors import UsageError
from lenet_lightning.historical.losses import LOSSES
from lenet_lightning.historical.sdlm import PASS_RATES, SDLM, curvature
from lenet_lightning.networks import NETWORKS
from lenet_lightning.training import classifier


@pytest.fixture
def digits():
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(10)
    templates = torch.randn(10, 1, 28, 28)
    return templates[labels] + 0.5 * torch.randn(100, 1, 28, 28), labels


def sgd(lr):
    return lambda params: torch.optim.SGD(params, lr=lr, momentum=0.9)


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:You called `self.log"),
]


def fit(model, digits, epochs, batch_size=20):
    loader = DataLoader(TensorDataset(*digits), batch_size)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, loader, loader)
    return trainer


def test_an_untrained_network_is_as_good_as_a_guess(digits):
    loss = torch.nn.functional.cross_entropy(DigitClassifier()(digits[0]), digits[1])
    assert loss.item() == pytest.approx(math.log(10), abs=0.1)


def test_a_batch_can_be_learned_by_heart(digits):
    torch.manual_seed(1)
    trainer = fit(DigitClassifier(optimizer=sgd(0.02)), digits, 30)
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
    logged = fit(DigitClassifier(optimizer=sgd(0.02), label_smoothing=0.2), digits, 40).callback_metrics
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


@pytest.mark.parametrize("schedule", ["constant", "onecycle", "paper"])
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


@pytest.mark.parametrize("schedule", ["constant", "onecycle", "paper"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_trains_with_every_schedule_or_is_refused_at_once(digits, name, schedule):
    torch.manual_seed(1)
    if name in ("LBFGS", "Muon", "SparseAdam"):
        with pytest.raises(ValueError, match=rf"^model\.optimizer: .*{name}"):
            DigitClassifier(optimizer=OPTIMIZERS[name], schedule=schedule)
        return
    model = DigitClassifier(optimizer=OPTIMIZERS[name], schedule=schedule)
    before = model.network.linear3.weight.detach().clone()
    logged = fit(model, digits, 2).callback_metrics
    assert logged["train/loss"].isfinite()
    assert not torch.equal(model.network.linear3.weight, before)


def test_averaging_validates_and_keeps_the_average(digits):
    torch.manual_seed(1)
    decay, weights = 0.5, []

    class Watched(DigitClassifier):
        def on_train_batch_end(self, *args):
            weights.append(self.network.linear3.weight.detach().clone())
            super().on_train_batch_end(*args)

    model = Watched(optimizer=sgd(0.02), averaging=decay)
    fit(model, digits, 4)
    expected = weights[0]
    for step, weight in enumerate(weights[1:], 1):
        warm = min(decay, (1 + step) / (10 + step))
        expected = warm * expected + (1 - warm) * weight
    torch.testing.assert_close(model.trained_network.linear3.weight, expected, rtol=0, atol=1e-6)
    assert torch.equal(model(digits[0]), model.averaged.module(digits[0]))


def test_saved_hyper_parameters_are_plain_values():
    class Odd(float):
        """As jsonargparse's restricted types are."""

    model = DigitClassifier(warmup=Odd(0.3), averaging=Odd(0.9), label_smoothing=Odd(0.1))
    assert {type(value) for value in model.hparams.values()} == {str, float}


def test_settings_that_the_optimizer_refuses_are_refused_at_once():
    with pytest.raises(ValueError, match=r"model\.optimizer: Invalid learning rate: -1"):
        DigitClassifier(optimizer=sgd(-1.0))


def test_validate_outside_of_a_fit_returns_the_metrics_alone(digits):
    model = DigitClassifier(optimizer=sgd(0.02))
    trainer = fit(model, digits, 2)
    (metrics,) = trainer.validate(model, DataLoader(TensorDataset(*digits), 20), verbose=False)
    assert metrics.keys() == {"val/loss", "val/acc"}


def test_example_input_fits():
    model = DigitClassifier()
    assert model(model.example_input_array).shape == (1, 10)


@pytest.mark.parametrize(
    ("network", "loss", "rate"),
    [
        ("lenet5_1998", "rbf_map", 5e-4),
        ("lenet5_1998", "rbf_mse", 5e-4),
        ("lenet1", "rbf_mse", 2e-3),
        ("lenet1", "rbf_map", 2e-3),
    ],
)
def test_sdlm_learns_a_batch_by_heart(digits, network, loss, rate):
    torch.manual_seed(1)
    sdlm = partial(SDLM, lr=rate, mu=0.5)
    model = DigitClassifier(network=network, loss=loss, optimizer=sdlm, schedule="constant")
    assert fit(model, digits, 15, batch_size=1).callback_metrics["val/acc"] == 1.0


@pytest.mark.parametrize(("rise", "times"), [(0, 3), (8, 10)])  # before each pass, and after the first seven steps
def test_curvature_is_estimated_before_each_epoch_from_that_epochs_first_patterns(digits, monkeypatch, rise, times):
    taken = []

    def watched(network, images, labels, loss):
        taken.append((len(labels), next(network.parameters()).detach().clone()))
        return curvature(network, images, labels, loss)

    monkeypatch.setattr(classifier, "curvature", watched)
    model = DigitClassifier(
        network="lenet1", loss="rbf_mse", optimizer=partial(SDLM, mu=0.5, rise=rise), schedule="paper"
    )
    fit(model, digits, 3, batch_size=32)
    assert [patterns for patterns, _ in taken] == [100] * times  # there are no 500
    weights = [weight for _, weight in taken]
    assert not any(torch.equal(a, b) for a, b in pairwise(weights))


def test_with_sdlm_a_batch_is_as_many_steps_and_what_is_logged_counts_each(digits):
    """With the rate 0 each step sees the same network."""
    images, labels = digits[0][:70], digits[1][:70]
    torch.manual_seed(1)
    sdlm = partial(SDLM, lr=0.0, patterns=4)
    model = DigitClassifier(network="lenet1", loss="rbf_mse", optimizer=sdlm, schedule="paper")
    with torch.no_grad():
        logits = model(images)
    trainer = fit(model, (images, labels), 2, batch_size=32)
    logged = trainer.callback_metrics
    assert logged["train/loss"].item() == pytest.approx(LOSSES["rbf_mse"](logits, labels).item(), rel=1e-5)
    assert logged["train/acc"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert trainer.global_step == 2 * 3  # batches
    (optimizer,) = trainer.optimizers
    assert optimizer.param_groups[0]["steps"] == 2 * (8 + 8 + 2)
    norms = []
    for few in range(0, 64, 4):
        model.zero_grad()
        LOSSES["rbf_mse"](model.network(images[few : few + 4]), labels[few : few + 4]).backward()
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.network.parameters()]))
    for few in (slice(64, 68), slice(68, 70)):
        model.zero_grad()
        LOSSES["rbf_mse"](model.network(images[few]), labels[few]).backward()
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.network.parameters()]))
    assert logged["train/grad_norm"].item() == pytest.approx(torch.stack(norms).mean().item(), rel=1e-5)


def test_with_sdlm_too_the_schedule_goes_on_epoch_by_epoch(digits):
    rates = []

    class Watched(DigitClassifier):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    fit(Watched(network="lenet1", loss="rbf_mse", optimizer=SDLM, schedule="paper"), digits, 4, batch_size=100)
    assert rates == pytest.approx([5e-4, 5e-4, 2e-4, 2e-4])


def test_the_papers_schedule():
    rates = [PASS_RATES[0] * classifier._paper_rate(epoch) for epoch in range(20)]
    expected = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert rates == pytest.approx(expected)


def test_every_network_and_every_loss_can_be_asked_for():
    names = get_type_hints(DigitClassifier.__init__)
    assert set(get_args(names["network"])) == set(NETWORKS)
    assert set(get_args(names["loss"])) == set(LOSSES)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"loss": "rbf_map"}, "model.network must be lenet5_1998 or lenet1, got lenet5"),
        ({"network": "lenet1", "loss": "rbf_mse", "label_smoothing": 0.1}, "model.label_smoothing must be 0"),
        (
            {"network": "lenet1", "optimizer": SDLM, "schedule": "onecycle"},
            "model.schedule must be constant or paper, got onecycle",
        ),
        ({"optimizer": SDLM}, "model.network must be lenet5_1998 or lenet1, got lenet5"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(settings, reason):
    with pytest.raises(ValueError, match=reason):
        DigitClassifier(**settings)
