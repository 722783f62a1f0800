"""A run in pictures: how it trained, what it gets wrong, what it looks at."""

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

from lenet_lightning.evaluation.metrics import CALIBRATION_BINS, TARGET_ERRORS, rejection_curve, surest_errors

# Okabe and Ito's palette: told apart by all who see colours differently
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
INK = "Greys"  # digits as ink on paper


@dataclass(frozen=True)
class Evidence:
    """What the pictures are drawn from.

    Args:
        rows: of metrics.csv.
        network: the trained one, on the CPU.
        images: (N, 1, 28, 28), uint8, the test digits.
        normalised: (1, 1, 28, 28), the first of them as the network takes it.
        labels: (N,).
        logits: (N, 10).
        originals: (M, 1, 28, 28), in [0, 1], training digits.
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


def draw(evidence: Evidence, folder: Path) -> list[Path]:
    """Write the pictures as PNG files into `folder`, made if missing, and give their paths.

    Without rows of metrics.csv there are no curves, without convolutions no filters, without `feature_maps` no maps.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    folder.mkdir(exist_ok=True)
    drawn = {
        curves: bool(evidence.rows),
        confusion_matrix: True,
        predictions: True,
        worst_errors: True,
        filters: any(isinstance(layer, nn.Conv2d) for layer in evidence.network.modules()),
        feature_maps: hasattr(evidence.network, "feature_maps"),
        samples: True,
        rejection: True,
        calibration: True,
    }
    paths = []
    for picture in (picture for picture, has_material in drawn.items() if has_material):
        paths.append(folder / f"{picture.__name__}.png")
        picture(evidence).savefig(paths[-1], dpi=110)
    return paths


def curves(evidence: Evidence) -> Figure:
    """Loss and accuracy over the epochs, best epoch marked; logarithmic, or the end would be a flat line.

    Where nothing was validated there is the training alone, and no best epoch.
    """
    figure = Figure((11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, subplot_kw={"yscale": "log", "autoscaley_on": False})
    validated = [row for row in evidence.rows if row.get("val/acc")]
    for stage, colour, name in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
        rows = [row for row in evidence.rows if row.get(f"{stage}/acc")]
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


def confusion_matrix(evidence: Evidence) -> Figure:
    """Counts of what was read as what; only the errors are shaded."""
    counts = torch.zeros(10, 10, dtype=torch.long)
    counts.index_put_((evidence.labels, evidence.logits.argmax(1)), torch.tensor(1), accumulate=True)
    errors = counts.clone().fill_diagonal_(0)
    figure = Figure((7.2, 6.6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(errors.numpy(), cmap="Oranges", vmin=0, vmax=max(int(errors.max()), 1))
    for true in range(10):
        for read in range(10):
            count = int(counts[true, read])
            if count:
                on_dark = true != read and count > 0.6 * int(errors.max())
                colour = GREY if true == read else "white" if on_dark else "black"
                axes.text(read, true, f"{count:,}", ha="center", va="center", color=colour)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("read as")
    axes.set_ylabel("is")
    right = int(counts.diagonal().sum())
    axes.set_title(f"{right:,} of {len(evidence.labels):,} right, {int(errors.sum()):,} wrong")
    figure.colorbar(shown, ax=axes, label="errors", shrink=0.8, ticks=MaxNLocator(integer=True))
    return figure


def predictions(evidence: Evidence) -> Figure:
    """The first ten test digits and what they are read as."""
    return _digits(evidence, torch.arange(10), "The first ten test digits", columns=5)


def worst_errors(evidence: Evidence) -> Figure:
    """The mistakes of which the network was surest."""
    errors = int((evidence.logits.argmax(1) != evidence.labels).sum())
    title = f"The surest of {errors:,} errors: true digit, prediction, probability"
    return _digits(evidence, surest_errors(evidence.logits, evidence.labels, 24), title, columns=8)


def _digits(evidence: Evidence, indices: Tensor, title: str, columns: int) -> Figure:
    rows = max(-(-len(indices) // columns), 1)
    figure = Figure((1.5 * columns, 1.85 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    _blank(grid.flat)
    for axes, index in zip(grid.flat, indices.tolist(), strict=False):
        probability, read = evidence.logits[index].softmax(0).max(0)
        true = int(evidence.labels[index])
        axes.imshow(evidence.images[index, 0].numpy(), cmap=INK)
        right = true == int(read)
        text = f"{true}, read as {int(read)}\n{100 * probability:.1f} %"
        axes.set_title(text, color="black" if right else ORANGE, fontsize=9)
    return figure


def filters(evidence: Evidence) -> Figure:
    """The 5x5 filters of C1, on one scale."""
    c1 = next(layer for layer in evidence.network.modules() if isinstance(layer, nn.Conv2d))
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


def feature_maps(evidence: Evidence) -> Figure:
    """The first test digit on its way through the layers of maps."""
    with torch.no_grad():
        maps_of: Any = evidence.network.feature_maps
        layers = maps_of(evidence.normalised)
    figure = Figure((12, 4.6), layout="constrained")
    figure.suptitle(f"A {int(evidence.labels[0])} through the network (the lighter, the stronger)")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 7])
    axes = left.subplots()
    axes.set_axis_off()
    axes.set_title("input", fontsize=9)
    axes.imshow(evidence.images[0, 0].numpy(), cmap="gray")
    rows = right.subplots(4, 1)
    for axes, (name, maps) in zip(rows, layers.items(), strict=True):
        axes.set_axis_off()
        axes.set_title(f"{name}  {maps.shape[1]}@{maps.shape[2]}x{maps.shape[3]}", loc="left", fontsize=9)
        axes.set_anchor("W")
        axes.imshow(_tiles(maps[0].unsqueeze(1), columns=16, gap=1 + maps.shape[3] // 14), cmap="magma")
    return figure


def samples(evidence: Evidence) -> Figure:
    """Training digits, and the same as distorted."""
    rows = [evidence.originals, *evidence.distorted]
    columns = len(evidence.originals)
    figure = Figure((columns, len(rows) + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title("Training digits: as they are (top), and as the network sees them")
    axes.imshow(_tiles(torch.cat(rows), columns, gap=2), cmap=INK, vmin=0, vmax=1)
    return figure


def _tiles(images: Tensor, columns: int, gap: int) -> Any:
    """One picture of many (N, 1, H, W); what is between them stays blank. Far quicker to draw than axes for each."""
    return make_grid(images, nrow=columns, padding=gap, pad_value=float("nan"))[0].numpy()


def rejection(evidence: Evidence) -> Figure:
    """How much has to be rejected for how few errors on the rest."""
    rejected, error = rejection_curve(evidence.logits, evidence.labels)
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


def calibration(evidence: Evidence) -> Figure:
    """Whether a probability of p is right p of the time."""
    probability, read = evidence.logits.softmax(1).max(1)
    right = (read == evidence.labels).double()
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
    upper.set_title("Calibration on the test digits")
    upper.legend()
    lower.bar(centres.numpy(), counts.numpy(), width=0.9 / CALIBRATION_BINS, color=BLUE)
    lower.set_yscale("log")
    lower.set_ylabel("digits")
    lower.set_xlabel("probability of the best answer")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def _blank(grid: Iterator[Axes] | Any) -> None:
    for axes in grid:
        axes.set_axis_off()
