import pytest
import torch

from lenet_lightning.historical.losses import RUBBISH_DISTANCE, rbf_map, rbf_mse
from lenet_lightning.networks.lenet1 import LeNet1


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


def test_for_lenet1_rbf_mse_is_the_squared_error_against_plus_and_minus_one(labels):
    network, images, units = LeNet1(), torch.rand(6, 1, 28, 28), []
    network.targets.register_forward_hook(lambda _, x, __: units.append(x[0]))
    logits = network(images)
    targets = torch.full((6, 10), -1.0).scatter(1, labels[:, None], 1.0)
    torch.testing.assert_close(rbf_mse(logits, labels), (units[0] - targets).square().sum(1).mean())
    assert torch.equal(logits.argmax(1), units[0].argmax(1))
