import itertools

import numpy as np
import pytest
import torch

from lenet_lightning.rows.decoding import (
    NO_DIGIT,
    alignment,
    best_path,
    forward_score,
    likely_strings,
    log_probabilities,
)
from lenet_lightning.rows.network import NONE


def outputs(positions, seed=0, sharp=2.0):
    """Logits (1, 11, positions)."""
    return sharp * torch.randn(1, 11, positions, generator=torch.Generator().manual_seed(seed))


def read(path):
    """The digits of a path of outputs: equal neighbours are one, and none is left out."""
    return tuple(key for key, _ in itertools.groupby(path) if key != NONE)


def by_hand(logits):
    """Of each string its probability, the sum over all paths that read as it."""
    scores = log_probabilities(logits)[:, 0].exp().tolist()
    sums = {}
    for path in itertools.product(range(11), repeat=len(scores)):
        probability = np.prod([scores[at][each] for at, each in enumerate(path)])
        sums[read(path)] = sums.get(read(path), 0) + probability
    return sums


@pytest.mark.parametrize("seed", range(3))
def test_the_forward_score_is_the_sum_over_all_alignments_and_all_strings_add_up_to_one(seed):
    logits = outputs(3, seed)
    sums = by_hand(logits)
    strings = torch.full((len(sums), 3), NO_DIGIT)
    for at, string in enumerate(sums):
        strings[at, : len(string)] = torch.tensor(string, dtype=torch.long)
    found = (-forward_score(logits.expand(len(sums), -1, -1), strings)).exp()
    np.testing.assert_allclose(found, list(sums.values()), rtol=1e-4)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_the_most_probable_strings_in_their_order(seed):
    logits = outputs(4, seed, sharp=4.0)
    sums = by_hand(logits)
    best = sorted(sums, key=sums.get, reverse=True)
    found = likely_strings(log_probabilities(logits)[:, 0].double().exp().numpy(), beam=200)
    assert found[:2] == best[:2]


def test_a_search_over_thousands_of_positions_does_not_underflow():
    logits = torch.full((1, 11, 5_000), -2.0)
    logits[:, NONE, ::2] = logits[:, 3, 1::2] = 12.0
    (best, *_) = likely_strings(log_probabilities(logits)[:, 0].double().exp().numpy())
    assert best == (3,) * 2_500


@pytest.mark.parametrize("seed", range(5))
def test_the_best_path_reads_the_most_probable_output_of_each_position(seed):
    logits = outputs(12, seed)
    string = read(logits[0].argmax(0).tolist())
    for most in (12, 2):
        digits = best_path(logits, most)
        assert digits.shape == (1, most + 1)
        assert digits[0, :most].tolist() == [*string, *[NO_DIGIT] * most][:most]
        assert (digits[0, most] != NO_DIGIT) == (len(string) > most)  # so that it equals no truth


@pytest.mark.parametrize("string", [(), (1,), (1, 1), (1, 2), (1, 1, 2)])
def test_the_alignment_is_the_most_probable_path_of_the_string(string):
    scores = log_probabilities(outputs(5))[:, 0].numpy()

    def score(path):
        return sum(scores[at, each] for at, each in enumerate(path))

    symbols = {NONE, *string}
    best = max((p for p in itertools.product(symbols, repeat=5) if read(p) == string), key=score)
    spans = alignment(scores, string)
    path = np.full(5, NONE)
    for digit, (first, last) in zip(string, spans, strict=True):
        assert first <= last
        path[first : last + 1] = digit
    assert read(path.tolist()) == string
    assert score(path) == pytest.approx(score(best))
