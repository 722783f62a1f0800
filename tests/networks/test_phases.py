"""Phases are the layers in other words: the same values, gradients, hooks and exported graph."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lenet_lightning import LeNet5
from lenet_lightning.networks.phases import FEWEST_IMAGES


def by_layers(network, images):
    x = network.flatten(network.feature_maps(images)["S4"])
    return network.linear3(network.linear2(network.linear1(x).relu()).relu())


class Operations(TorchDispatchMode):
    """Count how often kernels are laid out in phases, which is done by unfolding them."""

    def __init__(self):
        super().__init__()
        self.phases = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.phases += func is torch.ops.aten.unfold.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [FEWEST_IMAGES, FEWEST_IMAGES + 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_all_gradients_are_those_of_the_layers(count, layout):
    network = LeNet5().double()
    images = torch.randn(count, 1, 28, 28, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weights, wanted = torch.randn(count, 10, dtype=torch.float64), [images, *network.parameters()]
    with Operations() as operations:
        found = network(images)
    assert operations.phases == 4  # two of each convolution
    expected = by_layers(network, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for gradient, of_layers in zip(
        torch.autograd.grad((found * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(gradient, of_layers, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_as_the_layers_are(dtype):
    network, images = LeNet5(), torch.randn(FEWEST_IMAGES, 1, 28, 28)
    exact = network(images)
    with torch.autocast("cpu", dtype):
        mixed = network(images)
        mixed.float().sum().backward()
    torch.testing.assert_close(mixed.float(), exact, rtol=0, atol=0.02)
    assert all(p.grad.isfinite().all() for p in network.parameters())
    torch.testing.assert_close(network.to(dtype)(images.to(dtype)).float(), exact, rtol=0, atol=0.02)


def test_eval_mode_and_few_images_go_through_the_layers():
    network, images = LeNet5(), torch.randn(FEWEST_IMAGES, 1, 28, 28)
    with Operations() as operations:
        network(images[1:])
        network.eval()(images)
    assert operations.phases == 0


def altered(name, layer):
    network = LeNet5()
    setattr(network, name, layer)
    return network


@pytest.mark.parametrize(
    "network",
    [
        altered("conv1", nn.Conv2d(1, 6, 3, padding=1)),
        altered("conv1", nn.Conv2d(1, 6, 5, padding=2, padding_mode="circular")),
        altered("conv2", nn.Conv2d(6, 16, 5, bias=False)),
        altered("conv2", nn.Sequential(nn.Conv2d(6, 16, 5), nn.Tanh())),
        altered("pool1", nn.MaxPool2d(2)),
        type("Own", (LeNet5,), {"feature_maps": lambda self, images: {"S4": images[:, :, :20, :20]}})(),
    ],
    ids=lambda network: type(network).__name__,
)
def test_an_altered_network_computes_what_its_layers_do(network):
    images = torch.randn(FEWEST_IMAGES, 1, 28, 28)
    if type(network) is LeNet5:
        expected = by_layers(network, images)
        torch.testing.assert_close(network(images), expected, rtol=0, atol=0)
    else:
        assert network.feature_maps(images)["S4"].flatten(1).shape == (FEWEST_IMAGES, 400)
        assert torch.equal(network(images), by_layers(network, images))


@pytest.mark.parametrize("name", ["conv1", "pool1", "conv2", "pool2"])
@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_hooks_on_a_layer_are_called(name, register):
    network, calls = LeNet5(), []
    getattr(getattr(network, name), register)(lambda *_: calls.append(name))
    network(torch.randn(FEWEST_IMAGES, 1, 28, 28, requires_grad=True)).sum().backward()
    assert calls == [name]


def test_exported_and_compiled_in_training_mode_it_is_the_layers():
    network, images, graphs = LeNet5(), torch.randn(FEWEST_IMAGES, 1, 28, 28), []
    compiled = torch.compile(network, backend=lambda module, _: graphs.append(module.graph) or module, dynamic=False)
    torch.testing.assert_close(compiled(images), by_layers(network, images), rtol=0, atol=1e-5)
    graphs.append(torch.export.export(network, (images,)).graph)
    for graph in graphs:
        called = [node.target for node in graph.nodes if node.op == "call_function"]
        pooling = [name for name in map(str, called) if "avg_pool2d" in name]
        assert len(pooling) == 2


def test_a_second_derivative_is_that_of_the_layers():
    network, images = LeNet5().double(), torch.randn(FEWEST_IMAGES, 1, 28, 28, dtype=torch.float64)

    def curvature(loss):
        (gradient,) = torch.autograd.grad(loss, network.conv1.weight, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), network.conv2.weight)[0]

    torch.testing.assert_close(
        curvature(network(images).square().mean()), curvature(by_layers(network, images).square().mean())
    )
