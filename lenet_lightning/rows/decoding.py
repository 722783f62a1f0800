"""From the outputs at each position to digits: the best path, and the probability of a string."""

import heapq
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lenet_lightning.rows.network import NONE

NO_DIGIT = -1  # beyond the last digit of a row
LEAST = 1e-3  # a digit that is less probable at a position begins there in no string that is searched


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the log-probabilities (T, N, 11), float32, of logits (N, 11, T)."""
    return logits.float().log_softmax(1).permute(2, 0, 1)


def forward_score(logits: Tensor, digits: Tensor) -> Tensor:
    """Return minus the log-probability (N,), nats, of strings: a sum over all the ways to align them.

    The forward algorithm of connectionist temporal classification, the paper's forward criterion (LeCun et al. 1998,
    section VI) with an output for none between the digits. Infinite where there are too few positions.

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


def likely_strings(probabilities: NDArray[np.float64], beam: int = 8) -> list[tuple[int, ...]]:
    """Return the strings of the highest probability, the best first: a prefix beam search over all alignments.

    Args:
        probabilities: (T, 11), of the outputs at each position.
        beam: how many beginnings are followed.
    """
    # a string is the number of its node: a digit after another string
    before, last = [-1], [NONE]
    after: dict[tuple[int, int], int] = {}
    # of each beginning: the probability of the alignments that end with none, and of those that end with its digit
    begun: dict[int, tuple[float, float]] = {0: (1.0, 0.0)}
    for outputs in probabilities.tolist():
        none = outputs[NONE]
        likely = [(digit, outputs[digit]) for digit in range(NONE) if outputs[digit] > LEAST]
        grown: dict[int, tuple[float, float]] = {}
        for node, (ended, going) in begun.items():
            both, a, b = ended + going, *grown.get(node, (0.0, 0.0))
            grown[node] = (a + both * none, b + going * outputs[last[node]])
            for digit, probability in likely:
                child = after.setdefault((node, digit), len(last))
                if child == len(last):
                    before.append(node)
                    last.append(digit)
                a, b = grown.get(child, (0.0, 0.0))
                # of two equal digits, none is between
                grown[child] = (a, b + (ended if last[node] == digit else both) * probability)
        best = heapq.nlargest(beam, grown, key=lambda node: sum(grown[node])) if len(grown) > beam else list(grown)
        most = max(sum(grown[node]) for node in best)  # kept near 1: the product of thousands would be 0
        begun = {node: (grown[node][0] / most, grown[node][1] / most) for node in best}
    strings = list[tuple[int, ...]]()
    for node in sorted(begun, key=lambda node: sum(begun[node]), reverse=True):
        string, at = list[int](), node
        while at:
            string.append(last[at])
            at = before[at]
        strings.append(tuple(reversed(string)))
    return strings


def alignment(scores: NDArray[np.float64], digits: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the last position of each digit in the most probable alignment (Viterbi's algorithm).

    Args:
        scores: (T, 11), log-probabilities.
        digits: of the row, for which there are positions enough.
    """
    states = np.full(2 * len(digits) + 1, NONE)
    states[1::2] = digits
    skips = np.zeros(len(states), bool)  # a digit may follow another one at once, unless they are the same
    skips[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, states[:2]]
    came = np.zeros((len(scores), len(states)), np.int8)
    for at in range(1, len(scores)):
        options = np.full((3, len(states)), -np.inf)
        options[0] = best
        options[1, 1:] = best[:-1]
        options[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        came[at] = options.argmax(0)
        best = options.max(0) + scores[at, states]
    state = len(states) - 1 - int(len(states) > 1 and best[-2] > best[-1])
    spans = [(len(scores), -1)] * len(digits)
    for at in range(len(scores) - 1, -1, -1):
        if state % 2:
            first, last = spans[state // 2]
            spans[state // 2] = (min(first, at), max(last, at))
        state -= int(came[at, state])
    return spans
