"""The networks, in plain torch."""

from lenet_lightning.networks.lenet1 import LeNet1
from lenet_lightning.networks.lenet5 import LeNet5
from lenet_lightning.networks.lenet5_1998 import LeNet5_1998

LeNet = LeNet5 | LeNet5_1998 | LeNet1

# by the names that configs and weights files use
NETWORKS: dict[str, type[LeNet]] = {
    "lenet5": LeNet5,
    "lenet5_1998": LeNet5_1998,
    "lenet1": LeNet1,
}
