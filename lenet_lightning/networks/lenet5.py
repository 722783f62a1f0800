"""The tutorial's LeNet-5: 61,706 parameters."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lenet_lightning.networks import phases
from lenet_lightning.networks.pooling import AveragePool
from lenet_lightning.networks.receptive import Window


class LeNet5(nn.Module):
    """LeNet-5 as it is taught today: ReLU, parameter-free average pooling, a fully connected C3 and a linear output.

    Images (N, 1, 28, 28), normalised, to logits (N, 10). Attribute names are the tutorial's, comments give the layer's
    name in LeCun et al. 1998, figure 2, the shape after it and its parameters. The paper's own network has trainable
    subsampling, a sparse C3, scaled tanh and RBF outputs instead.

    >>> LeNet5()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    MEAN, STD = 0.1307, 0.3081  # of the pixels of the 60,000 training samples, in [0, 1]
    WINDOWS: ClassVar = {
        "C1": Window(5, padding=2),
        "S2": Window(2, stride=2),
        "C3": Window(5),
        "S4": Window(2, stride=2),
    }

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding="same")  # C1: 6@28x28, 156
        self.pool1 = AveragePool()  # S2: 6@14x14
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)  # C3: 16@10x10, 2,416
        self.pool2 = AveragePool()  # S4: 16@5x5
        self.flatten = nn.Flatten()  # 400
        self.linear1 = nn.Linear(400, 120)  # C5: 120, 48,120
        self.linear2 = nn.Linear(120, 84)  # F6: 84, 10,164
        self.linear3 = nn.Linear(84, 10)  # output: 10, 850

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return what C1, S2, C3 and S4 make of normalised images (N, 1, 28, 28), by the layer's name."""
        c1 = torch.relu(self.conv1(images))  # (N, 6, 28, 28)
        s2 = self.pool1(c1)  # (N, 6, 14, 14)
        c3 = torch.relu(self.conv2(s2))  # (N, 16, 10, 10)
        return {"C1": c1, "S2": s2, "C3": c3, "S4": self.pool2(c3)}  # S4: (N, 16, 5, 5)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return what every layer makes of normalised images (N, 1, 28, 28), by its name; the logits are the last."""
        maps = self.feature_maps(images)
        return maps | self._classify(maps["S4"])

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 10) of normalised images (N, 1, 28, 28)."""
        layers = self.conv1, self.pool1, self.conv2, self.pool2
        # not in eval mode: what a network reads must not depend on how many images it is given
        if not self.training or type(self) is not LeNet5 or not phases.are_quicker(images, *layers):
            return self.stages(images)["output"]
        s2 = phases.pooled_relu_conv(images, self.conv1)
        return self._classify(phases.pooled_relu_conv(s2, self.conv2))["output"]

    def _classify(self, s4: Tensor) -> dict[str, Tensor]:
        c5 = torch.relu(self.linear1(self.flatten(s4)))  # (N, 120)
        f6 = torch.relu(self.linear2(c5))  # (N, 84)
        return {"C5": c5, "F6": f6, "output": self.linear3(f6)}  # output: (N, 10)
