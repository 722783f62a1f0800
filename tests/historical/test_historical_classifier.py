from functools import partial
from itertools import pairwise
from typing import get_args, get_type_hints

import pytest
import torch

from lenet_lightning import DigitClassifier, recipes
from lenet_lightning.historical import classifier
from lenet_lightning.historical.classifier import HistoricalClassifier
from lenet_lightning.historical.losses import LOSSES
from lenet_lightning.historical.sdlm import PASS_RATES, SDLM, curvature
from lenet_lightning.networks import NETWORKS
from tests.training.plain import QUIET, fit, sgd

pytestmark = QUIET


@pytest.mark.usual
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
    model = HistoricalClassifier(network=network, loss=loss, optimizer=sdlm, schedule="constant")
    few = tuple(part[:40] for part in digits)
    assert fit(model, few, 12, batch_size=40).callback_metrics["val/acc"] == 1.0


@pytest.mark.parametrize(("rise", "times"), [(0, 3), (8, 10)])  # before each pass, and after the first seven steps
def test_curvature_is_estimated_before_each_epoch_from_that_epochs_first_patterns(digits, monkeypatch, rise, times):
    taken = []

    def watched(network, images, labels, loss):
        taken.append((len(labels), next(network.parameters()).detach().clone()))
        return curvature(network, images, labels, loss)

    monkeypatch.setattr(classifier, "curvature", watched)
    model = HistoricalClassifier(
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
    model = HistoricalClassifier(network="lenet1", loss="rbf_mse", optimizer=sdlm, schedule="paper")
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

    class Watched(HistoricalClassifier):
        def on_train_batch_start(self, *_):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    fit(Watched(network="lenet1", loss="rbf_mse", optimizer=SDLM, schedule="paper"), digits, 4, batch_size=100)
    assert rates == pytest.approx([5e-4, 5e-4, 2e-4, 2e-4])


def test_the_papers_schedule():
    rates = [PASS_RATES[0] * classifier.paper_rate(epoch) for epoch in range(20)]
    expected = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("made", [HistoricalClassifier.__init__, recipes.classifier])
def test_every_network_and_every_loss_can_be_asked_for(made):
    names = get_type_hints(made)
    wanted = set(NETWORKS) | ({"lenet5_swept"} if made is recipes.classifier else set())
    assert wanted in (set(get_args(names["network"])), set(get_args(get_args(names["network"])[0])))
    assert set(get_args(names["loss"])) == set(LOSSES)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, DigitClassifier),
        ({"schedule": "onecycle", "optimizer": torch.optim.AdamW}, DigitClassifier),
        ({"network": "lenet1"}, HistoricalClassifier),
        ({"schedule": "paper"}, HistoricalClassifier),
        ({"network": "lenet5_1998", "optimizer": SDLM, "schedule": "paper"}, HistoricalClassifier),
    ],
)
def test_a_setting_of_1989_or_1998_makes_a_historical_classifier(settings, kind):
    assert type(recipes.classifier(**settings)) is kind


@pytest.mark.parametrize("schedule", ["constant", "onecycle", "paper"])
@pytest.mark.parametrize("network", NETWORKS)
def test_other_optimizers_train_each_network_with_each_schedule(digits, network, schedule):
    torch.manual_seed(1)
    model = recipes.classifier(network, optimizer=torch.optim.AdamW, schedule=schedule)
    before = [weights.detach().clone() for weights in model.network.parameters()]
    assert fit(model, digits, 2).callback_metrics["train/loss"].isfinite()
    assert not any(torch.equal(old, new) for old, new in zip(before, model.network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        (sgd(0.01), "momentum", 0.9),
        (partial(torch.optim.AdamW, betas=(0.8, 0.95)), "betas", (0.8, 0.95)),
    ],
)
def test_the_papers_schedule_changes_neither_momentum_nor_betas(digits, optimizer, name, value):
    model = recipes.classifier(optimizer=optimizer, schedule="paper")
    assert fit(model, digits, 4).optimizers[0].param_groups[0][name] == value


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
        recipes.classifier(**settings)
