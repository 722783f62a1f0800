"""From the outputs at each position to digits: the best path, and the probability of a string."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lenet_lightning.rows.network import NONE

NO_DIGIT = -1  # beyond the last digit of a row


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the log-probabilities (T, N, 11), float32, of logits (N, 11, T)."""
    return logits.float().log_softmax(1).permute(2, 0, 1)


def forward_score(logits: Tensor, digits: Tensor) -> Tensor:
    """Return minus the log-probability (N,), nats, of strings: a sum over all the ways to align them.

    The forward algorithm of connectionist temporal classification, the paper's forward criterion (LeCun et al. 1998,
    section VI.E) with an output for none between the digits. Infinite where there are too few positions.

    Args:
        logits: (N, 11, T).
        digits: (N, L), NO_DIGIT after the last of each.
    """
    scores = log_probabilities(logits)
    positions = torch.full((scores.shape[1],), len(scores), dtype=torch.long)
    lengths = (digits != NO_DIGIT).sum(1)
    return F.ctc_loss(scores, digits.clamp_min(0), positions, lengths, blank=NONE, reduction="none")


def best_path(logits: Tensor, most: int) -> Tensor:
    """Return the digits (N, most) of the most probable output at each position, NO_DIGIT after the last.

    Equal neighbours are one digit, and none is left out; a row of more than `most` digits is cut.

    Args:
        logits: (N, 11, T).
        most: the most digits of a row.
    """
    best = logits.argmax(1)
    before = F.pad(best[:, :-1], (1, 0), value=NONE)
    begins = (best != before) & (best != NONE)
    order = begins.cumsum(1) - 1
    digits = best.new_full((len(best), most + 1), NO_DIGIT)
    place = torch.where(begins & (order < most), order, most)
    digits.scatter_(1, place, best)
    digits[:, most] = torch.where(begins.sum(1) > most, 0, NO_DIGIT)
    return digits
