"""Convolution, ReLU and 2x2 average pooling in one convolution: quicker in training on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenet_lightning.networks.pooling import AveragePool

# of fewer images the layers, one after the other, are quicker
FEWEST_IMAGES = 64


def are_quicker(images: Tensor, *layers: nn.Module) -> bool:
    """Return whether `pooled_relu_conv` may replace these convolutions and poolings, and is quicker.

    It is on a CPU, with some images, where nothing is compiled or exported. It may where each layer is as LeNet5 makes
    it, and none has hooks, which would not be called.
    """
    return (
        images.is_cpu
        and images.shape[0] >= FEWEST_IMAGES
        and not torch.compiler.is_compiling()
        and all(_is_usual(layer) and not _has_hooks(layer) for layer in layers)
    )


def pooled_relu_conv(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return the 2x2 means of the ReLU of a 5x5 convolution: maps (N, C, 2H, 2W) to (N, K, H', W').

    Each mean is over four phases: what the convolution gives at even and odd rows and columns. One convolution of
    stride 2 makes all of them, as 4K maps, which oneDNN fills its vectors with; it would pad K = 6 to 16.
    """
    padding = 2 if conv.padding == "same" else 0
    assert conv.bias is not None
    # (K, C, 2, 2, 6, 6): the kernel at the four places of a 6x6 one
    kernels = F.pad(conv.weight, (1, 1, 1, 1)).unfold(2, 6, 1).unfold(3, 6, 1)
    kernels = kernels.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)  # (4K, C, 6, 6)
    bias = conv.bias.repeat(4)
    if conv.in_channels == 1:
        phases = F.conv2d(maps, kernels, bias, stride=2, padding=padding)
    else:
        # oneDNN is slow at stride 2 in many maps: as 4C maps of half the size it is stride 1
        phases = F.conv2d(F.pixel_unshuffle(maps, 2), F.pixel_unshuffle(kernels, 2), bias, padding=padding // 2)
    return torch.relu(phases).unflatten(1, (4, -1)).mean(1)


def _has_hooks(layer: nn.Module) -> bool:
    # torch has no public way to ask
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def _is_usual(layer: nn.Module) -> bool:
    if type(layer) is not nn.Conv2d:
        return type(layer) is AveragePool
    geometry = layer.kernel_size, layer.stride, layer.dilation, layer.groups
    return (
        geometry == ((5, 5), (1, 1), (1, 1), 1)
        and layer.padding in ("same", (0, 0))
        and layer.padding_mode == "zeros"
        and layer.bias is not None
    )
