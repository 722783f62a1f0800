"""What a network's stages are, and which pixels their units depend on."""

import itertools

import pytest
import torch

from lenet_lightning.networks import NETWORKS
from lenet_lightning.networks.receptive import receptive_fields

ALL = pytest.mark.parametrize("network", NETWORKS.values())


@ALL
def test_the_last_stage_is_what_forward_returns(network):
    built, images = network(), torch.rand(3, 1, 28, 28)
    *_, last = built.stages(images).values()
    assert torch.equal(last, built(images))


@ALL
def test_the_stages_begin_with_the_feature_maps(network):
    built, images = network(), torch.rand(3, 1, 28, 28)
    maps = built.feature_maps(images)
    stages = built.stages(images)
    assert [*stages][: len(maps)] == [*maps] == [*built.WINDOWS]
    assert all(torch.equal(stages[name], maps[name]) for name in maps)
    assert all(values.ndim == 2 for name, values in stages.items() if name not in maps)


@ALL
def test_a_unit_depends_on_its_receptive_field_all_of_it_and_nothing_else(network):
    built = network().double()
    for parameter in built.parameters():
        # no path cancels another one, no unit is off, none is saturated
        torch.nn.init.uniform_(parameter, 0.001, 0.01)
    images = torch.rand(1, 1, 28, 28, dtype=torch.double, requires_grad=True)
    fields = receptive_fields(built.WINDOWS)
    for name, maps in built.feature_maps(images).items():
        start, step, size = fields[name]
        side = maps.shape[-1]
        for row, column in itertools.product({0, 1, side // 2, side - 1}, repeat=2):
            (gradient,) = torch.autograd.grad(maps[0, :, row, column].sum(), images, retain_graph=True)
            claimed = torch.zeros(28, 28, dtype=torch.bool)
            top, left = start + step * row, start + step * column
            claimed[max(top, 0) : top + size, max(left, 0) : left + size] = True
            assert torch.equal(gradient[0, 0] != 0, claimed), (name, row, column)
