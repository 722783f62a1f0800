"""Loss functions, by the names that `model.loss` takes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# the distance from its code beyond which the "rubbish" class is nearer; the paper has no value
RUBBISH_DISTANCE = 3.0


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of logits (N, 10) with labels (N,), in nats."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def rbf_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared distance from the code of the right class (LeCun et al. 1998, equation 8).

    Logits (N, 10) are minus the distances; labels (N,). For LeNet-1 it is the squared error against targets of 1 and
    -1, summed over the ten units.
    """
    return -logits.gather(1, labels.unsqueeze(1)).mean()


def rbf_map(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the paper's maximum a posteriori criterion (LeCun et al. 1998, equation 9), a mean over N samples.

    It is cross-entropy with an eleventh class, "rubbish", whose distance is always the same.
    """
    rubbish = logits.new_full((len(logits), 1), -RUBBISH_DISTANCE)
    return F.cross_entropy(torch.cat([logits, rubbish], dim=1), labels)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    loss.__name__: loss for loss in (cross_entropy, rbf_mse, rbf_map)
}
