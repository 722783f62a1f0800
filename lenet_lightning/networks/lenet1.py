"""LeNet-1: the forerunner of 1989, 2,578 parameters."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lenet_lightning.networks.layers import (
    PAPER_MEAN,
    PAPER_STD,
    Convolution,
    EuclideanRBF,
    SparseConv2d,
    Squash,
    Subsampling,
    draw_,
)
from lenet_lightning.networks.receptive import Window

# for each map of C2 the maps of S1 that it reads (LeCun et al. 1990, table 1)
C2_READS = ((0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1), (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3))


class LeNet1(nn.Module):
    """The first LeNet, as LeCun et al. describe it in NIPS 2 (1990).

    Images (N, 1, 28, 28) with -0.1 for paper and 1.175 for ink, to logits (N, 10). Its ten output units are squashed,
    too, and should be 1 for their own digit and -1 for the others: a logit is minus the squared distance of the ten
    from what they should be for that digit. The digit is that of the largest unit. Comments give the shape after a
    layer and its parameters.
    """

    MEAN, STD = PAPER_MEAN, PAPER_STD
    WINDOWS: ClassVar = {
        "C1": Window(5),
        "S1": Window(2, stride=2),
        "C2": Window(5),
        "S2": Window(2, stride=2),
    }

    def __init__(self) -> None:
        super().__init__()
        self.squash = Squash()
        self.c1 = Convolution(1, 4)  # 4@24x24, 104
        self.s1 = Subsampling(4)  # 4@12x12, 8
        self.c2 = SparseConv2d(4, C2_READS)  # 12@8x8, 512
        self.s2 = Subsampling(12)  # 12@4x4, 24
        self.output = nn.Linear(192, 10)  # 10, 1,930
        self.targets = EuclideanRBF(2 * torch.eye(10) - 1)
        for parameter in self.output.parameters():
            draw_(parameter, fan_in=192)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return what C1, S1, C2 and S2 make of normalised images (N, 1, 28, 28), by the layer's name."""
        c1 = self.squash(self.c1(images))  # (N, 4, 24, 24)
        s1 = self.squash(self.s1(c1))  # (N, 4, 12, 12)
        c2 = self.squash(self.c2(s1))  # (N, 12, 8, 8)
        return {"C1": c1, "S1": s1, "C2": c2, "S2": self.squash(self.s2(c2))}  # S2: (N, 12, 4, 4)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return what every layer makes of normalised images (N, 1, 28, 28), by its name; the logits are the last."""
        maps = self.feature_maps(images)
        output = self.squash(self.output(maps["S2"].flatten(1)))  # (N, 10)
        return maps | {"output": output, "logits": self.targets(output)}  # logits: (N, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 10) of normalised images (N, 1, 28, 28)."""
        return self.stages(images)["logits"]
