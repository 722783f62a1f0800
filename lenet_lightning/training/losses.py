"""What a training makes small, by the names that `model.loss` takes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# how far from its bitmap a digit may lie before the "rubbish" class claims it; the paper gives no value
RUBBISH_DISTANCE = 3.0


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Give the mean cross-entropy of logits (N, 10) with labels (N,), in nats."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def rbf_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the mean squared distance of F6 from the right bitmap (LeCun et al. 1998, equation 8).

    Logits (N, 10) are minus the distances; labels (N,).
    """
    return -logits.gather(1, labels.unsqueeze(1)).mean()


def rbf_map(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the paper's maximum a posteriori criterion (equation 9), a mean over N patterns.

    It is cross-entropy with an eleventh class, "rubbish", whose distance is always the same.
    """
    rubbish = logits.new_full((len(logits), 1), -RUBBISH_DISTANCE)
    return F.cross_entropy(torch.cat([logits, rubbish], dim=1), labels)


def target_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the squared differences from 1 for the right unit and -1 for the others, summed over units, mean over N."""
    targets = 2.0 * F.one_hot(labels, logits.shape[1]) - 1
    return (logits - targets).square().sum(1).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    loss.__name__: loss for loss in (cross_entropy, rbf_mse, rbf_map, target_mse)
}
