import numpy as np

from tests.benchmarks.errors import VOTED_WRONG, draw, missed


def test_what_nearly_all_miss_comes_with_the_answer_that_most_give():
    labels = np.array([3, 4, 5, 6])
    predicted = np.tile(labels, (10, 1))
    predicted[:, 1] = [9, 9, 9, 9, 9, 9, 1, 1, 1, 1]  # all miss it
    predicted[:9, 2] = 3  # nine do
    predicted[:8, 3] = 0  # eight do
    rows = missed(predicted, labels)
    assert [(row["index"], row["label"], row["answer"]) for row in rows] == [(1, 4, 9), (2, 5, 3)]
    assert [(row["answer_share"], row["missed_share"]) for row in rows] == [(0.6, 1.0), (0.9, 0.9)]


def test_the_picture_has_a_place_for_each():
    index = min(VOTED_WRONG)
    row = {"index": index, "label": 8, "answer": 9, "voted_wrong": True}
    figure = draw([row] * 13, np.zeros((index + 1, 28, 28), np.uint8))
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 13 and {axes.get_title() for axes in shown} == {f"{index}\n8, predicted 9"}
