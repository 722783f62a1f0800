"""The pooling of the tutorial's network, quick on a CPU."""

from functools import cache

import torch
from torch import Tensor, nn


class AveragePool(nn.AvgPool2d):
    """The mean of each 2x2 inputs: maps (N, C, 2H, 2W) to (N, C, H, W), without parameters."""

    def __init__(self) -> None:
        super().__init__(kernel_size=2)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the means."""
        # on a CPU torch goes from window to window, a third of all training time; to add pairs of rows and to multiply
        # by a matrix that adds pairs of columns is several times quicker. Compiled, or exported, it is pooling.
        if not maps.is_cpu or torch.compiler.is_compiling():
            return super().forward(maps)
        return maps.unflatten(2, (-1, 2)).sum(3) @ _quarter_of_pairs(maps.shape[3], maps.dtype)


@cache
def _quarter_of_pairs(width: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # or a matrix first made for a prediction could not be trained with
        return torch.eye(width // 2, dtype=dtype).repeat_interleave(2, dim=0) / 4
