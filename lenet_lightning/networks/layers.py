"""The layers of the first LeNets that torch does not have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AMPLITUDE, SLOPE = 1.7159, 2 / 3

# of the pixels in [0, 1]: paper becomes -0.1 and ink 1.175, so that the mean is near 0 and the variance near 1 (LeCun
# et al. 1998, section II.B)
PAPER_MEAN, PAPER_STD = 20 / 255, 200 / 255
BACKGROUND = -0.1


class Squash(nn.Module):
    """The squashing function of all units: 1.7159 tanh(2 a / 3).

    Any shape to the same shape. It is +-1 at +-1, where its curvature is largest, so that targets of +-1 do not
    drive units into saturation (LeCun et al. 1998, appendix A).
    """

    def forward(self, sums: Tensor) -> Tensor:
        """Return the outputs of units with these weighted sums."""
        return AMPLITUDE * torch.tanh(SLOPE * sums)


class Convolution(nn.Conv2d):
    """torch's convolution with 5x5 kernels, quick for single samples too."""

    bias: Tensor

    def __init__(self, in_maps: int, maps: int) -> None:
        super().__init__(in_maps, maps, kernel_size=5)
        for parameter in self.parameters():
            draw_(parameter, fan_in=25 * in_maps)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, in_maps, H, W) to weighted sums (N, maps, H - 4, W - 4)."""
        return convolve(maps, self.weight, self.bias)


class Subsampling(nn.Module):
    """Half the resolution with trainable weights: the sum of each 2x2 inputs, times a coefficient, plus a bias.

    Maps (N, maps, 2H, 2W) to weighted sums (N, maps, H, W); one coefficient and one bias for each map (LeCun et al.
    1998, section II.B, layer S2).
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps, 1, 1))
        self.bias = nn.Parameter(torch.empty(maps, 1, 1))
        for parameter in self.parameters():
            draw_(parameter, fan_in=4)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted sums."""
        # four times the mean: a sum by divisor_override is a mean again once it is exported to ONNX
        return F.avg_pool2d(maps, 2) * (4 * self.weight) + self.bias


class SparseConv2d(nn.Module):
    """A convolution in which each output map reads some of the input maps.

    Maps (N, in_maps, H, W) to weighted sums (N, len(sources), H - 4, W - 4). The weights are the kernels that there
    are, (connections, 5, 5), in the order of `sources`.

    Args:
        in_maps: how many maps come in.
        sources: for each output map, the input maps it reads, counted from 0.
    """

    connected: Tensor

    def __init__(self, in_maps: int, sources: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.in_maps = in_maps
        self.sources = sources
        connected = [out * in_maps + source for out, read in enumerate(sources) for source in read]
        self.register_buffer("connected", torch.tensor(connected), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(connected), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(sources)))
        kernels = self.weight.detach().split([len(read) for read in sources])
        for kernel, bias, read in zip(kernels, self.bias.detach(), sources, strict=True):
            draw_(kernel, fan_in=25 * len(read))
            draw_(bias, fan_in=25 * len(read))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted sums."""
        # one dense convolution with zeros costs less than several that are sparse: docs/1998.md has the timings
        kernels = self.weight.new_zeros(len(self.sources) * self.in_maps, 5, 5)
        kernels = kernels.index_copy(0, self.connected, self.weight)
        return convolve(maps, kernels.unflatten(0, (len(self.sources), self.in_maps)), self.bias)


class EuclideanRBF(nn.Module):
    """How far units are from the code of each class, the values that they should have for it.

    Units (N, K) to minus the squared Euclidean distances (N, classes), 0 or less (LeCun et al. 1998, equation 7).

    Args:
        codes: (classes, K), fixed, -1 or 1: for LeNet-5 the bitmaps, for LeNet-1 the targets.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, units: Tensor) -> Tensor:
        """Return minus the distances."""
        return -(units.unsqueeze(1) - self.codes).square().sum(2)


def convolve(maps: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Convolve (N, C, H, W) with kernels (K, C, 5, 5), add a bias (K,): (N, K, H - 4, W - 4)."""
    # for single samples the calls of oneDNN's convolution cost more than the sums; a product of matrices is fused with
    # what is around it, once compiled. Not in an export, which should have a convolution.
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting() or len(maps) > 1:
        return F.conv2d(maps, kernels, bias)
    height, width = maps.shape[2] - 4, maps.shape[3] - 4
    shifted = [maps[0, :, y : y + height, x : x + width] for y in range(5) for x in range(5)]
    sums = kernels.flatten(1) @ torch.stack(shifted, dim=1).flatten(0, 1).flatten(1) + bias.unsqueeze(1)
    return sums.view(1, len(kernels), height, width)


def draw_(parameter: Tensor, fan_in: int) -> None:
    """Draw values evenly from +-2.4 / fan-in, the number of inputs of a unit (LeCun et al. 1998, appendix A)."""
    nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)
