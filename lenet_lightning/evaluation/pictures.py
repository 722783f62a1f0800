"""The pictures of a run, as files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from lenet_lightning.atomic import replacing
from lenet_lightning.evaluation import plots


@dataclass(frozen=True)
class Material:
    """What the pictures are drawn from.

    Args:
        rows: of metrics.csv.
        network: the trained one, on the CPU.
        images: (N, 1, 28, 28), uint8, the test samples.
        normalised: (1, 1, 28, 28), the first of them as the network takes it.
        labels: (N,).
        logits: (N, 10).
        originals: (M, 1, 28, 28), in [0, 1], training samples.
        distorted: of these, in the same shape: each a distortion of all.
    """

    rows: list[dict[str, str]]
    network: nn.Module
    images: Tensor
    normalised: Tensor
    labels: Tensor
    logits: Tensor
    originals: Tensor
    distorted: list[Tensor]


def draw(data: Material, folder: Path) -> list[Path]:
    """Write the pictures as PNG files into `folder`, made if missing; return their paths.

    Without rows of metrics.csv there are no curves, without convolutions no filters, without `feature_maps` no maps.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    folder.mkdir(exist_ok=True)
    network, outcome = data.network, (data.logits, data.labels)
    drawn: dict[Callable[..., Figure], tuple[Any, ...]] = {
        plots.curves: (data.rows,),
        plots.confusion_matrix: outcome,
        plots.predictions: (data.images, *outcome),
        plots.worst_errors: (data.images, *outcome),
        plots.filters: (network,),
        plots.feature_maps: (network, data.normalised[0], int(data.labels[0])),
        plots.samples: (data.originals, data.distorted),
        plots.rejection: outcome,
        plots.calibration: outcome,
    }
    lacking = {
        plots.curves: not data.rows,
        plots.filters: not any(isinstance(layer, nn.Conv2d) for layer in network.modules()),
        plots.feature_maps: not hasattr(network, "feature_maps"),
    }
    paths = []
    for plot, material in drawn.items():
        if not lacking.get(plot):
            paths.append(folder / f"{plot.__name__}.png")
            with replacing(paths[-1]) as partial:
                plot(*material).savefig(partial, dpi=110)
    return paths
