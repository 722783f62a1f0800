import pytest
import torch

from lenet_lightning.training.losses import RUBBISH_DISTANCE, rbf_map, rbf_mse, target_mse


@pytest.fixture
def logits():
    return -10 * torch.rand(6, 10, dtype=torch.double)


@pytest.fixture
def labels():
    return torch.tensor([0, 9, 3, 3, 7, 1])


def test_rbf_mse_is_the_mean_distance_of_the_right_class(logits, labels):
    expected = sum(-logits[n, label] for n, label in enumerate(labels)) / 6
    torch.testing.assert_close(rbf_mse(logits, labels), expected)


def test_rbf_map_is_equation_9(logits, labels):
    distances, j = -logits, torch.tensor(RUBBISH_DISTANCE, dtype=torch.double)
    expected = sum(
        distances[n, label] + torch.log(torch.exp(-j) + torch.exp(-distances[n]).sum())
        for n, label in enumerate(labels)
    )
    torch.testing.assert_close(rbf_map(logits, labels), expected / 6)


def test_rbf_map_asks_for_more_than_the_right_order(labels):
    """A digit that is far from every bitmap is rubbish, however much nearer the right one is."""
    far = torch.full((6, 10), -500.0).scatter(1, labels[:, None], -100.0)
    assert rbf_map(far, labels) > 90


def test_target_mse_sums_over_units(labels):
    right = torch.full((6, 10), -1.0).scatter(1, labels[:, None], 1.0)
    assert target_mse(right, labels) == 0
    assert target_mse(torch.zeros(6, 10), labels) == 10
