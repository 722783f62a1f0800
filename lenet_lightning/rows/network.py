"""LeNet-5 swept over a row of digits: a space displacement network (LeCun et al. 1998, section VII)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEIGHT = 28  # of a row, pixels
WINDOW = 32  # what one position sees, a square: the paper's input
STEP = 2  # pixels from one position to the next
NONE = 10  # the eleventh output: between digits, or nothing at all


class SweptLeNet5(nn.Module):
    """LeNet-5 at every second column of a row, with the work shared that neighbouring positions have in common.

    Rows (N, 1, 28, W) with pixels in [0, 1], ink 1 and paper 0, to logits (N, 11, 1 + W // 2): position t sees the 32
    columns around column 2 t, with paper beside the row, and its outputs are the ten digits and NONE. The layers are
    the tutorial's, with more maps; a linear layer is a convolution here. S4 keeps every column, and C5 reads every
    second of them: so C5 sees what it sees in a single digit, but at every second pixel and not at every fourth.

    >>> SweptLeNet5()(torch.zeros(2, 1, 28, 100)).shape
    torch.Size([2, 11, 51])
    """

    MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, kernel_size=5)  # C1
        self.conv2 = nn.Conv2d(24, 48, kernel_size=5)  # C3
        self.linear1 = nn.Conv2d(48, 160, kernel_size=5, dilation=(1, 2))  # C5
        self.linear2 = nn.Conv2d(160, 84, kernel_size=1)  # F6
        self.linear3 = nn.Conv2d(84, 11, kernel_size=1)  # output

    def forward(self, rows: Tensor) -> Tensor:
        """Return the logits (N, 11, 1 + W // 2) of rows (N, 1, 28, W)."""
        paper = F.pad(rows, (WINDOW // 2, WINDOW // 2, 2, 2))
        s2 = F.max_pool2d(torch.relu(self.conv1((paper - self.MEAN) / self.STD)), 2)  # (N, 24, 14, 14 + W // 2)
        s4 = F.max_pool2d(torch.relu(self.conv2(s2)), 2, stride=(2, 1))  # (N, 48, 5, 9 + W // 2)
        c5 = torch.relu(self.linear1(s4))  # (N, 160, 1, 1 + W // 2)
        f6 = torch.relu(self.linear2(c5))
        return self.linear3(f6).squeeze(2)
