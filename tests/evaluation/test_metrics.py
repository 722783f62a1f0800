import pytest
import torch

from lenet_lightning.evaluation.metrics import rejection_curve
from lenet_lightning.evaluation.metrics import test_metrics as metrics_of


def logits_of(answers, margins):
    logits = torch.zeros(len(answers), 10)
    logits[torch.arange(len(answers)), torch.tensor(answers)] = torch.tensor(margins)
    return logits


def test_rejection_takes_the_smallest_margin_first():
    logits = logits_of([1, 2, 3, 4], [4.0, 1.0, 3.0, 2.0])
    labels = torch.tensor([1, 0, 3, 0])  # the two with the smallest margins are wrong
    rejected, error = rejection_curve(logits, labels)
    at = {round(r, 2): e for r, e in zip(rejected.tolist(), error.tolist(), strict=True)}
    assert at == {1.0: 0.0, 0.75: 0.0, 0.5: 0.0, 0.25: pytest.approx(1 / 3), 0.0: 0.5}


def test_rejection_metrics_agree_with_counting():
    torch.manual_seed(0)
    logits, labels = torch.randn(3_000, 10) * 3, torch.randint(0, 10, (3_000,))
    labels[:2_900] = logits[:2_900].argmax(1)
    top = logits.topk(2).values
    margin = top[:, 0] - top[:, 1]
    wrong = logits.argmax(1) != labels
    for target in (0.01, 0.005, 0.001):
        fewest = min(
            (margin <= threshold).double().mean().item()
            for threshold in [-1.0, *margin.tolist()]
            if wrong[margin > threshold].double().mean().nan_to_num() <= target
        )
        assert metrics_of(logits, labels)[f"rejected_for_error_{target:g}"] == pytest.approx(fewest, abs=1e-9)


def test_nothing_is_rejected_where_nothing_is_wrong():
    metrics = metrics_of(logits_of([3, 4], [9.0, 9.0]), torch.tensor([3, 4]))
    assert metrics["rejected_for_error_0.001"] == 0


def test_each_digits_accuracy_is_its_own():
    metrics = metrics_of(logits_of([1, 1, 2, 3], [5.0] * 4), torch.tensor([1, 2, 2, 3]))
    assert [metrics[f"acc/{digit}"] for digit in (1, 2, 3)] == [1.0, 0.5, 1.0]


def test_calibration_error_is_confidence_minus_accuracy():
    logits = logits_of([1] * 10, [20.0] * 10)  # certain, and right in 7 of 10
    assert metrics_of(logits, torch.tensor([1] * 7 + [2] * 3))["calibration_error"] == pytest.approx(0.3, abs=1e-3)
