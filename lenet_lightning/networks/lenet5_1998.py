"""The LeNet-5 of 1998: 60,000 trainable parameters and ten bitmaps."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenet_lightning.networks.layers import (
    BACKGROUND,
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

# for each map of C3 the maps of S2 that it reads (table I)
C3_READS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# What F6 should show for each digit, 7 wide and 12 high; the paper prints its own bitmaps too small to copy. These are
# in the manner of the numerals on cheques, each with its weight in a place of its own: 17 to 57 dots apart.
BITMAPS = """
####### .###... ######. .####.. ##..... ####### ###.... ####### .#####. #######
####### .###... ######. .####.. ##..... ####### ###.... ####### .#####. #######
##...## ..##... ....##. ...##.. ##..... ##..... ##..... ##...## .##.##. ##...##
##...## ..##... ....##. ...##.. ##..... ##..... ##..... .....## .##.##. ##...##
##...## ..##... ....##. ...##.. ##..##. ##..... ##..... ....### .#####. ##...##
##...## ..##... ######. .###### ##..##. ####### ##..... ...###. .#####. #######
##...## ..##... ######. .###### ##..##. ####### ####### ...##.. ###.### #######
##...## ..##### ##..... ...#### ####### .....## ####### ..###.. ###.### ....###
##...## ..##### ##..... ...#### ####### .....## ##...## ..##... ###.### ....###
##...## ..##### ##..... ...#### ....##. .....## ##...## ..##... ###.### ....###
####### ..##### ####### .###### ....##. ####### ####### ..##... ####### ....###
####### ..##### ####### .###### ....##. ####### ####### ..##... ####### ....###
"""


def bitmaps() -> Tensor:
    """Return BITMAPS (10, 84): -1 for paper and 1 for ink."""
    rows = [[list(part) for part in row.split()] for row in BITMAPS.split("\n") if row]
    ink = torch.tensor([[[dot == "#" for dot in row[digit]] for row in rows] for digit in range(10)])
    return ink.flatten(1) * 2.0 - 1


class LeNet5_1998(nn.Module):
    """LeNet-5 as LeCun, Bottou, Bengio and Haffner described it in 1998, section II.B and figure 2.

    Images (N, 1, 28, 28) with -0.1 for paper and 1.175 for ink, to logits (N, 10): minus the distances of the RBF
    units, 0 or less. Attribute names are the paper's in lower case; comments give the shape after a layer and its
    trainable parameters. docs/1998.md says what was assumed.
    """

    MEAN, STD = PAPER_MEAN, PAPER_STD
    WINDOWS: ClassVar = {
        "C1": Window(5, padding=2),
        "S2": Window(2, stride=2),
        "C3": Window(5),
        "S4": Window(2, stride=2),
    }

    def __init__(self) -> None:
        super().__init__()
        self.squash = Squash()
        self.c1 = Convolution(1, 6)  # 6@28x28, 156
        self.s2 = Subsampling(6)  # 6@14x14, 12
        self.c3 = SparseConv2d(6, C3_READS)  # 16@10x10, 1,516
        self.s4 = Subsampling(16)  # 16@5x5, 32
        self.c5 = nn.Linear(400, 120)  # 120@1x1, 48,120; on 5x5 maps a 5x5 convolution is this
        self.f6 = nn.Linear(120, 84)  # 84, 10,164
        self.output = EuclideanRBF(bitmaps())  # 10
        for layer, fan_in in ((self.c5, 400), (self.f6, 120)):
            for parameter in layer.parameters():
                draw_(parameter, fan_in)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return what C1, S2, C3 and S4 make of normalised images (N, 1, 28, 28), by the layer's name."""
        field = F.pad(images, (2, 2, 2, 2), value=BACKGROUND)  # (N, 1, 32, 32)
        c1 = self.squash(self.c1(field))  # (N, 6, 28, 28)
        s2 = self.squash(self.s2(c1))  # (N, 6, 14, 14)
        c3 = self.squash(self.c3(s2))  # (N, 16, 10, 10)
        return {"C1": c1, "S2": s2, "C3": c3, "S4": self.squash(self.s4(c3))}  # S4: (N, 16, 5, 5)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return what every layer makes of normalised images (N, 1, 28, 28), by its name; the logits are the last."""
        maps = self.feature_maps(images)
        c5 = self.squash(self.c5(maps["S4"].flatten(1)))  # (N, 120)
        f6 = self.squash(self.f6(c5))  # (N, 84)
        return maps | {"C5": c5, "F6": f6, "output": self.output(f6)}  # output: (N, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 10) of normalised images (N, 1, 28, 28)."""
        return self.stages(images)["output"]
