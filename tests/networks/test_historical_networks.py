"""LeNet5_1998 and LeNet1 against the figures and formulas of the papers."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from lenet_lightning.networks import NETWORKS
from lenet_lightning.networks.layers import EuclideanRBF, SparseConv2d, Squash, Subsampling
from lenet_lightning.networks.lenet1 import LeNet1
from lenet_lightning.networks.lenet5_1998 import LeNet5_1998, bitmaps

LEDGERS = {
    LeNet5_1998: {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164},
    LeNet1: {"c1": 104, "s1": 8, "c2": 512, "s2": 24, "output": 1_930},
}
HISTORICAL = pytest.mark.parametrize("network", [LeNet5_1998, LeNet1])


@HISTORICAL
def test_parameters_are_those_of_the_paper(network):
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in network().named_children()}
    assert {name: count for name, count in counts.items() if count} == LEDGERS[network]


@HISTORICAL
def test_every_parameter_gets_a_gradient(network):
    built = network()
    built(torch.rand(8, 1, 28, 28)).square().sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []


@HISTORICAL
def test_digits_of_a_batch_do_not_touch_each_other(network):
    built, images = network(), torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(built(images)[2:3], built(images[2:3]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS.values())
def test_feature_maps_have_the_shapes_of_the_paper(network):
    names_and_shapes = {
        name: tuple(maps.shape) for name, maps in network().feature_maps(torch.rand(2, 1, 28, 28)).items()
    }
    if network is LeNet1:
        assert names_and_shapes == {
            "C1": (2, 4, 24, 24),
            "S1": (2, 4, 12, 12),
            "C2": (2, 12, 8, 8),
            "S2": (2, 12, 4, 4),
        }
    else:
        shapes = ((2, 6, 28, 28), (2, 6, 14, 14), (2, 16, 10, 10), (2, 16, 5, 5))
        assert names_and_shapes == dict(zip(("C1", "S2", "C3", "S4"), shapes, strict=True))


@HISTORICAL
def test_weights_begin_within_the_papers_range_and_fill_it(network):
    built = network()
    for layer in built.children():
        for parameter in layer.parameters():
            if isinstance(layer, Subsampling):
                bound = 2.4 / 4
            elif isinstance(layer, SparseConv2d):
                bound = 2.4 / (25 * min(map(len, layer.sources)))
            else:
                bound = 2.4 / layer.weight[0].numel()
            assert parameter.abs().max() <= bound
            if parameter.numel() > 100:
                assert parameter.abs().max() > 0.9 * bound


def test_each_map_of_a_sparse_convolution_starts_by_its_own_fan_in():
    layer = LeNet5_1998().c3
    kernels = layer.weight.split([len(read) for read in layer.sources])
    for kernel, read in zip(kernels, layer.sources, strict=True):
        assert kernel.abs().max() <= 2.4 / (25 * len(read))


@HISTORICAL
def test_a_sparse_convolution_is_the_sum_over_the_maps_it_reads(network):
    layer = next(layer for layer in network().children() if isinstance(layer, SparseConv2d))
    maps = torch.randn(3, layer.in_maps, 9, 9)
    kernels = iter(layer.weight)
    expected = [
        sum(F.conv2d(maps[:, source, None], next(kernels)[None, None]) for source in read) + bias
        for read, bias in zip(layer.sources, layer.bias, strict=True)
    ]
    torch.testing.assert_close(layer(maps), torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)


def test_a_subsampling_unit_is_a_coefficient_times_its_four_inputs_plus_a_bias():
    layer, maps = Subsampling(3), torch.randn(2, 3, 4, 6)
    units = layer(maps)
    for n, c, y, x in itertools.product(range(2), range(3), range(2), range(3)):
        four = maps[n, c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].sum()
        torch.testing.assert_close(units[n, c, y, x], four * layer.weight[c, 0, 0] + layer.bias[c, 0, 0])


def test_squashing_gives_plus_and_minus_one_at_plus_and_minus_one():
    torch.testing.assert_close(
        Squash()(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), rtol=0, atol=1e-4
    )


def test_an_rbf_unit_gives_minus_the_squared_distance_from_its_bitmap():
    layer, f6 = EuclideanRBF(bitmaps()), torch.randn(4, 84)
    for n, digit in itertools.product(range(4), range(10)):
        expected = -sum((x - w) ** 2 for x, w in zip(f6[n], layer.codes[digit], strict=True))
        torch.testing.assert_close(layer(f6)[n, digit], expected)


def test_bitmaps_are_ink_and_paper_and_far_apart():
    drawn = bitmaps()
    assert drawn.shape == (10, 84)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    differing = (drawn[:, None] != drawn).sum(2) + 84 * torch.eye(10)
    assert differing.min() >= 17
    # a 1 has its stem in the middle column, a 0 has a hole there
    assert drawn[1].view(12, 7)[3:10, 3].eq(1).all()
    assert drawn[0].view(12, 7)[3:9, 3].eq(-1).all()


def test_the_field_around_a_digit_is_paper():
    network, seen = LeNet5_1998(), []
    network.c1.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    network(torch.full((1, 1, 28, 28), 1.175))
    (field,) = seen
    assert field.shape == (1, 1, 32, 32)
    assert field[..., :2].eq(-0.1).all()
    assert field[..., 2:30, 2:30].eq(1.175).all()
