"""What is measured of rows: the digits to correct, and what must be rejected."""

import torch
from torch import Tensor

from lenet_lightning.rows import decoding
from lenet_lightning.rows.style import KINDS

MOST_WRONG = 0.01  # of the accepted rows: the figure of 1990


def edits(read: Tensor, digits: Tensor) -> Tensor:
    """Return the Levenshtein distances (N,): digits to insert, remove or change.

    Args:
        read: (N, L), NO_DIGIT after the last.
        digits: (N, M), the truth, the same way.
    """
    pairs = zip(read.tolist(), digits.tolist(), strict=True)
    return torch.tensor([_edits(*([d for d in row if d != decoding.NO_DIGIT] for row in pair)) for pair in pairs])


def _edits(a: list[int], b: list[int]) -> int:
    before = list(range(len(b) + 1))
    for at, x in enumerate(a, 1):
        now = [at]
        for to, y in enumerate(b, 1):
            now.append(min(before[to] + 1, now[-1] + 1, before[to - 1] + (x != y)))
        before = now
    return before[-1]


def rejected(claimed: Tensor, exact: Tensor, most_wrong: float = MOST_WRONG) -> float:
    """Return the smallest fraction to reject, the least probable first, for so few wrong among the accepted.

    Args:
        claimed: (N,), the probability of each reading.
        exact: (N,), whether it is right.
        most_wrong: the largest fraction of the accepted that may be wrong.
    """
    surest = claimed.argsort(descending=True, stable=True)
    wrong = (~exact[surest]).double().cumsum(0) / torch.arange(1, len(exact) + 1)
    good = (wrong <= most_wrong).nonzero()
    return 1 - (int(good.max()) + 1) / len(exact) if len(good) else 1.0


def test_metrics(logits: Tensor, digits: Tensor) -> dict[str, float]:
    """Return the metrics of logits (N, 11, T) of rows and their digits (N, L); the kinds follow each other, as many.

    `acc/KIND`: the fraction of rows of a kind that are exactly right. `rejected_for_error_0.01/KIND`: what must be
    rejected of it for at most 1 % wrong among the rest.
    """
    most = digits.shape[1]
    read = decoding.best_path(logits, most)
    exact = (read[:, :-1] == digits).all(1) & (read[:, -1] == decoding.NO_DIGIT)
    claimed = (-decoding.forward_score(logits, read[:, :-1])).exp()
    metrics = {}
    for kind, right, sure in zip(KINDS, exact.chunk(len(KINDS)), claimed.chunk(len(KINDS)), strict=True):
        metrics[f"acc/{kind}"] = right.double().mean().item()
        metrics[f"rejected_for_error_{MOST_WRONG:g}/{kind}"] = rejected(sure, right)
    return metrics
