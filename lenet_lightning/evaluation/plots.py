"""The pictures of a run: its curves, its errors, and what its network computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor, nn
from torchvision.utils import make_grid

from lenet_lightning.atomic import replacing
from lenet_lightning.evaluation import confusion
from lenet_lightning.evaluation.metrics import CALIBRATION_BINS, TARGET_ERRORS, rejection_curve, surest_errors

# Okabe and Ito's palette, which people with any colour vision can distinguish
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
INK = "Greys"  # dark ink on white paper


@dataclass(frozen=True)
class PlotData:
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


def draw(data: PlotData, folder: Path) -> list[Path]:
    """Write the pictures as PNG files into `folder`, made if missing; return their paths.

    Without rows of metrics.csv there are no curves, without convolutions no filters, without `feature_maps` no maps.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    folder.mkdir(exist_ok=True)
    drawn = {
        curves: bool(data.rows),
        confusion_matrix: True,
        predictions: True,
        worst_errors: True,
        filters: any(isinstance(layer, nn.Conv2d) for layer in data.network.modules()),
        feature_maps: hasattr(data.network, "feature_maps"),
        samples: True,
        rejection: True,
        calibration: True,
    }
    paths = []
    for picture in (picture for picture, has_material in drawn.items() if has_material):
        paths.append(folder / f"{picture.__name__}.png")
        with replacing(paths[-1]) as partial:
            picture(data).savefig(partial, dpi=110)
    return paths


def curves(data: PlotData) -> Figure:
    """Loss and accuracy over the epochs, best epoch marked; logarithmic, or the end would be a flat line.

    Where nothing was validated there is the training alone, and no best epoch.
    """
    figure = Figure((11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, subplot_kw={"yscale": "log", "autoscaley_on": False})
    validated = [row for row in data.rows if row.get("val/acc")]
    for stage, colour, name in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
        rows = [row for row in data.rows if row.get(f"{stage}/acc")]
        if not rows:
            continue
        epochs = [int(row["epoch"]) for row in rows]
        losses = [float(row[f"{stage}/loss"]) for row in rows]
        errors = [max(1 - float(row[f"{stage}/acc"]), 1e-5) for row in rows]
        left.plot(epochs, losses, "o-", color=colour, label=name, markersize=4)
        right.plot(epochs, errors, "o-", color=colour, label=name, markersize=4)
    for axes in (left, right):
        values = torch.cat([torch.as_tensor(line.get_ydata()) for line in axes.get_lines()])
        low, high = values.min().item() / 1.3, 1.3 * values.max().item()
        axes.set_ylim(*((low, high) if axes is left else (high, low)))
        if validated:
            best = max(validated, key=lambda row: float(row["val/acc"]))["epoch"]
            axes.axvline(int(best), color=GREEN, linestyle="--", label=f"best: epoch {best}")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    left.set_title("Loss")
    right.set_title("Accuracy")
    for axes, text in ((left, lambda loss, _: f"{loss:g}"), (right, lambda error, _: f"{100 * (1 - error):.4g} %")):
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(text))
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def confusion_matrix(data: PlotData) -> Figure:
    """Counts of each label and prediction; only the errors are shaded."""
    return confusion.confusion_matrix(data.labels.numpy(), data.logits.argmax(1).numpy())


def predictions(data: PlotData) -> Figure:
    """The first ten test samples and their predictions."""
    return _digits(data, torch.arange(10), "The first ten test samples", columns=5)


def worst_errors(data: PlotData) -> Figure:
    """The errors of the highest probability."""
    errors = int((data.logits.argmax(1) != data.labels).sum())
    title = f"The most confident of {errors:,} errors: true digit, prediction, probability"
    return _digits(data, surest_errors(data.logits, data.labels, 24), title, columns=8)


def _digits(data: PlotData, indices: Tensor, title: str, columns: int) -> Figure:
    rows = max(-(-len(indices) // columns), 1)
    figure = Figure((1.5 * columns, 1.83 * rows + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=12)
    wide, high = 32, 39  # of 28 pixels each, with two lines above it
    for place, index in enumerate(indices.tolist()):
        x, y = place % columns * wide, place // columns * high
        probability, predicted = data.logits[index].softmax(0).max(0)
        true = int(data.labels[index])
        axes.imshow(data.images[index, 0].numpy(), cmap=INK, extent=(x, x + 28, y + 28, y))
        colour = "black" if true == int(predicted) else ORANGE
        text = f"{true}, predicted {int(predicted)}\n{100 * probability:.1f} %"
        axes.text(x + 14, y - 1, text, color=colour, fontsize=9, ha="center", va="bottom", in_layout=False)
    axes.set(xlim=(-2, columns * wide - 2), ylim=(rows * high - 10, -13))
    return figure


def filters(data: PlotData) -> Figure:
    """The 5x5 filters of C1, on one scale."""
    c1 = next(layer for layer in data.network.modules() if isinstance(layer, nn.Conv2d))
    weights = c1.weight.detach()[:, 0]
    largest = weights.abs().max().item()
    figure = Figure((11, 2.6), layout="constrained")
    figure.suptitle(f"C1: the {len(weights)} 5x5 filters (blue adds, red takes away)")
    row = figure.subplots(1, len(weights))
    _blank(row)
    for axes, weight in zip(row, weights, strict=True):
        shown = axes.imshow(weight.numpy(), cmap="RdBu", vmin=-largest, vmax=largest)
    figure.colorbar(shown, ax=row)
    return figure


def feature_maps(data: PlotData) -> Figure:
    """The first test sample on its way through the layers of maps."""
    with torch.no_grad():
        maps_of: Any = data.network.feature_maps
        layers = maps_of(data.normalised)
    figure = Figure((12, 4.6), layout="constrained")
    figure.suptitle(f"A {int(data.labels[0])} through the network (the lighter, the stronger)")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 7])
    axes = left.subplots()
    axes.set_axis_off()
    axes.set_title("input", fontsize=9)
    axes.imshow(data.images[0, 0].numpy(), cmap="gray")
    rows = right.subplots(4, 1)
    for axes, (name, maps) in zip(rows, layers.items(), strict=True):
        axes.set_axis_off()
        axes.set_title(f"{name}  {maps.shape[1]}@{maps.shape[2]}x{maps.shape[3]}", loc="left", fontsize=9)
        axes.set_anchor("W")
        axes.imshow(_tiles(maps[0].unsqueeze(1), columns=16, gap=1 + maps.shape[3] // 14), cmap="magma")
    return figure


def samples(data: PlotData) -> Figure:
    """Training samples, unchanged and distorted."""
    rows = [data.originals, *data.distorted]
    columns = len(data.originals)
    figure = Figure((columns, len(rows) + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title("Training samples: unchanged (top), and distorted as the network gets them")
    axes.imshow(_tiles(torch.cat(rows), columns, gap=2), cmap=INK, vmin=0, vmax=1)
    return figure


def _tiles(images: Tensor, columns: int, gap: int) -> Any:
    """One picture of many (N, 1, H, W); what is between them stays blank. Far quicker to draw than axes for each."""
    return make_grid(images, nrow=columns, padding=gap, pad_value=float("nan"))[0].numpy()


def rejection(data: PlotData) -> Figure:
    """The error on the rest against the fraction that is rejected."""
    rejected, error = rejection_curve(data.logits, data.labels)
    figure = Figure((7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot((100 * rejected).numpy(), (100 * error).numpy(), color=BLUE)
    for target in TARGET_ERRORS:
        needed = rejected[error <= target].min()
        point = (100 * needed.item(), 100 * error[rejected == needed].item())
        axes.plot(*point, "o", color=ORANGE)
        text = f"at most {100 * target:g} % wrong: reject {point[0]:.2f} %"
        axes.annotate(text, point, xytext=(8, 6), textcoords="offset points")
    most = rejected[error <= min(TARGET_ERRORS)].min().item()
    axes.set_xlim(-0.1, max(200 * most, 1))
    axes.set_ylim(0, max(110 * error[-1].item(), 110 * max(TARGET_ERRORS)))
    axes.set_xlabel("rejected, % (smallest difference between the two best scores first)")
    axes.set_ylabel("wrong, % of the rest")
    axes.set_title("Rejection")
    axes.grid(alpha=0.3)
    return figure


def calibration(data: PlotData) -> Figure:
    """Accuracy against probability: equal where the network is calibrated."""
    probability, predicted = data.logits.softmax(1).max(1)
    right = (predicted == data.labels).double()
    bins = (probability * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    counts = torch.bincount(bins, minlength=CALIBRATION_BINS)
    centres = (torch.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    filled = counts > 0
    accuracy = torch.bincount(bins, right, minlength=CALIBRATION_BINS)[filled] / counts[filled]
    figure = Figure((6.4, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color=GREY, label="calibrated")
    upper.plot(centres[filled].numpy(), accuracy.numpy(), "o-", color=BLUE, label="this network")
    upper.set_ylabel("fraction right")
    upper.set_title("Calibration on the test samples")
    upper.legend()
    lower.bar(centres.numpy(), counts.numpy(), width=0.9 / CALIBRATION_BINS, color=BLUE)
    lower.set_yscale("log")
    lower.set_ylabel("samples")
    lower.set_xlabel("probability of the prediction")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def _blank(grid: Iterator[Axes] | Any) -> None:
    for axes in grid:
        axes.set_axis_off()
