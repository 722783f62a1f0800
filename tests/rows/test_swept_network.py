import pytest
import torch
import torch.nn.functional as F

from lenet_lightning.rows.network import NONE, STEP, WINDOW, SweptLeNet5


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SweptLeNet5().eval()


def plain(network, images):
    """LeNet-5 as everyone writes it, with these weights: images (N, 1, 32, 32) to logits (N, 11)."""
    maps = (images - network.MEAN) / network.STD
    for layer in (network.conv1, network.conv2):
        maps = F.max_pool2d(torch.relu(F.conv2d(maps, layer.weight, layer.bias)), 2)
    units = maps.flatten(1)
    for layer in (network.linear1, network.linear2):
        units = torch.relu(F.linear(units, layer.weight.flatten(1), layer.bias))
    return F.linear(units, network.linear3.weight.flatten(1), network.linear3.bias)


@torch.no_grad()
def test_a_single_digit_is_read_as_by_the_plain_network(network):
    digits = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(network(digits)[:, :, 7], plain(network, F.pad(digits, (2, 2, 2, 2))))


@torch.no_grad()
@pytest.mark.parametrize("width", [8, 28, 61, 200])
def test_every_position_is_the_plain_network_on_its_window(network, width):
    rows = torch.rand(2, 1, 28, width)
    swept = network(rows)
    assert swept.shape == (2, NONE + 1, 1 + width // STEP)
    paper = F.pad(rows, (WINDOW // 2, WINDOW // 2, 2, 2))
    for at in range(swept.shape[2]):
        torch.testing.assert_close(swept[:, :, at], plain(network, paper[..., STEP * at :][..., :WINDOW]))
