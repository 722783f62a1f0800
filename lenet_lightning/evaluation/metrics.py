"""Metrics of test logits beyond accuracy: each class's accuracy, calibration, and what rejecting gains."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

CALIBRATION_BINS = 15
TARGET_ERRORS = (0.01, 0.005, 0.001)  # of what is not rejected; LeCun et al. 1998 report the second


def test_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the metrics of logits (N, 10) and labels (N,), by their names in metrics.csv after `test/`; fractions.

    `acc/D`: accuracy on the samples of class D. `calibration_error`: expected calibration error over 15 bins.
    `rejected_for_error_E`: the smallest fraction to reject so that at most E of the rest is wrong.
    """
    each = multiclass_accuracy(logits, labels, num_classes=10, average="none")
    metrics = {f"acc/{digit}": accuracy.item() for digit, accuracy in enumerate(each)}
    error = multiclass_calibration_error(logits.softmax(1), labels, num_classes=10, n_bins=CALIBRATION_BINS)
    rejected, wrong = rejection_curve(logits, labels)
    needed = {f"rejected_for_error_{most:g}": rejected[wrong <= most].min().item() for most in TARGET_ERRORS}
    return metrics | {"calibration_error": error.item()} | needed


def rejection_curve(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fractions rejected (N + 1,), from none to all, and the error on the rest at each.

    Rejected first is the smallest difference between the two largest logits (LeCun et al. 1998, section III.C).
    """
    best, second = logits.topk(2).values.unbind(1)
    surest_first = (best - second).argsort(descending=True)
    errors = (logits.argmax(1) != labels)[surest_first].double().cumsum(0)
    kept = torch.arange(len(labels) + 1, dtype=torch.double)
    return 1 - kept / len(labels), torch.cat([errors.new_zeros(1), errors / kept[1:]])


def surest_errors(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return the indices of at most so many errors of logits (N, 10) and labels (N,), the most probable first."""
    wrong = (logits.argmax(1) != labels).nonzero().flatten()
    return wrong[logits.softmax(1).amax(1)[wrong].argsort(descending=True)[:most]]
