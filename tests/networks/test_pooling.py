"""Pooling is pooling, whatever it is made of."""

import pytest
import torch
import torch.nn.functional as F

from lenet_lightning.networks.pooling import AveragePool, _quarter_of_pairs


@pytest.mark.parametrize("shape", [(3, 6, 28, 28), (2, 16, 10, 10), (1, 1, 2, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_means_and_gradients_are_those_of_torchs_pooling(shape, layout):
    maps = torch.randn(shape, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weights = torch.randn(*shape[:2], shape[2] // 2, shape[3] // 2, dtype=torch.float64)
    pooled, expected = AveragePool()(maps), F.avg_pool2d(maps, 2)
    torch.testing.assert_close(pooled, expected)
    (gradient,) = torch.autograd.grad((pooled * weights).sum(), maps)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), maps)
    torch.testing.assert_close(gradient, wanted)


def test_it_trains_in_a_process_that_has_read_a_digit_before():
    _quarter_of_pairs.cache_clear()
    with torch.inference_mode():
        AveragePool()(torch.zeros(1, 6, 28, 28))
    maps = torch.zeros(1, 6, 28, 28, requires_grad=True)
    AveragePool()(maps).sum().backward()
    assert torch.equal(maps.grad, torch.full_like(maps, 0.25))


def test_an_export_says_pooling():
    program = torch.export.export(AveragePool(), (torch.zeros(2, 6, 28, 28),))
    assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
        torch.ops.aten.avg_pool2d.default
    ]
