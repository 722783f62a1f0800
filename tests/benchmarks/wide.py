"""A network of LeNet-5's form with nine times its parameters: whether its size is what limits the accuracy.

python -m lenet_lightning fit --config configs/record.yaml --model.network tests.benchmarks.wide.Wide
"""

from torch import Tensor, nn

from lenet_lightning.networks.pooling import AveragePool


class Wide(nn.Module):
    """Images (N, 1, 28, 28) to logits (N, 10), with three times as many maps and units: 18, 48, 360, 252."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 18, 5, padding=2), nn.ReLU(), AveragePool()),
            *(nn.Conv2d(18, 48, 5), nn.ReLU(), AveragePool(), nn.Flatten()),
            *(nn.Linear(48 * 25, 360), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(360, 252), nn.ReLU(), nn.Dropout(0.2)),
            nn.Linear(252, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
