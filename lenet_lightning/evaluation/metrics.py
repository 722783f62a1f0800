"""What can be said of test logits beyond accuracy: each digit's share, calibration, and what rejecting buys."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

CALIBRATION_BINS = 15
TARGET_ERRORS = (0.01, 0.005, 0.001)  # of what is not rejected; LeCun et al. 1998 report the second


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Give the figures of logits (N, 10) and labels (N,), by their names in metrics.csv.

    `acc/D`: the fraction of digit D read right. `calibration_error`: expected calibration error over 15 bins, a
    fraction. `rejected_for_error_E`: the smallest fraction to reject so that at most E of the rest is wrong.
    """
    each = multiclass_accuracy(logits, labels, num_classes=10, average="none")
    figures = {f"acc/{digit}": accuracy.item() for digit, accuracy in enumerate(each)}
    error = multiclass_calibration_error(logits.softmax(1), labels, num_classes=10, n_bins=CALIBRATION_BINS)
    figures["calibration_error"] = error.item()
    rejected, wrong = rejection_curve(logits, labels)
    for target in TARGET_ERRORS:
        figures[f"rejected_for_error_{target:g}"] = rejected[wrong <= target].min().item()
    return figures


def rejection_curve(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the fractions rejected (N + 1,), from none to all, and the error on the rest at each.

    Rejected first is what has the smallest difference between its two best scores (LeCun et al. 1998, section III.C).
    """
    best, second = logits.topk(2).values.unbind(1)
    surest_first = (best - second).argsort(descending=True)
    wrong = (logits.argmax(1) != labels)[surest_first].double().cumsum(0)
    kept = torch.arange(1, len(labels) + 1)
    error = torch.cat([torch.zeros(1, dtype=torch.double), wrong / kept])
    return 1 - torch.arange(len(labels) + 1, dtype=torch.double) / len(labels), error


def surest_errors(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return the indices of at most so many errors of logits (N, 10) and labels (N,), the most probable first."""
    wrong = (logits.argmax(1) != labels).nonzero().flatten()
    return wrong[logits.softmax(1).amax(1)[wrong].argsort(descending=True)[:most]]
