"""Draw samples, curves, errors and what a network computes; each function returns a matplotlib figure.

In Python it is `lenet_lightning.plots`: `plots.curves(rows)` in a notebook shows them, `.savefig("curves.png")` keeps
them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor, nn
from torchvision.utils import make_grid

from lenet_lightning.evaluation import confusion
from lenet_lightning.evaluation.drawn import Drawn
from lenet_lightning.evaluation.metrics import CALIBRATION_BINS, TARGET_ERRORS, rejection_curve, surest_errors

__all__ = [
    "calibration",
    "confusion_matrix",
    "curves",
    "feature_maps",
    "filters",
    "predictions",
    "rejection",
    "samples",
    "worst_errors",
]

# Okabe and Ito's palette, which people with any colour vision can distinguish
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
INK = "Greys"  # dark ink on white paper


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw loss and accuracy over the epochs, best epoch marked; logarithmic, or the end would be a flat line.

    Args:
        rows: one for each epoch, as in metrics.csv: `epoch`, `train/loss` (nats), `train/acc` (fraction) and, where it
            was validated, `val/loss` and `val/acc`; numbers or text. Without validation there is no best epoch.
    """
    figure = Drawn((11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, subplot_kw={"yscale": "log", "autoscaley_on": False})
    validated = [row for row in rows if row.get("val/acc")]
    for stage, colour, name in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
        known = [row for row in rows if row.get(f"{stage}/acc")]
        if not known:
            continue
        epochs = [int(row["epoch"]) for row in known]
        losses = [float(row[f"{stage}/loss"]) for row in known]
        errors = [max(1 - float(row[f"{stage}/acc"]), 1e-5) for row in known]
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


def confusion_matrix(logits: Tensor, labels: Tensor) -> Figure:
    """Draw the counts of each label and prediction; only the errors are shaded.

    Args:
        logits: (N, 10).
        labels: (N,), the true digits.
    """
    return confusion.confusion_matrix(labels.numpy(), logits.argmax(1).numpy())


def predictions(images: Tensor, logits: Tensor, labels: Tensor) -> Figure:
    """Draw the first ten samples and their predictions.

    Args:
        images: (N, 1, 28, 28), uint8 or any numbers, the larger the more ink.
        logits: (N, 10).
        labels: (N,), the true digits.
    """
    shown = torch.arange(min(10, len(labels)))
    return _digits(images, logits, labels, shown, "The first ten test samples", columns=5)


def worst_errors(images: Tensor, logits: Tensor, labels: Tensor) -> Figure:
    """Draw the 24 errors of the highest probability; arguments as of `predictions`."""
    errors = int((logits.argmax(1) != labels).sum())
    title = f"The most confident of {errors:,} errors: true digit, prediction, probability"
    return _digits(images, logits, labels, surest_errors(logits, labels, 24), title, columns=8)


def _digits(images: Tensor, logits: Tensor, labels: Tensor, indices: Tensor, title: str, columns: int) -> Figure:
    rows = max(-(-len(indices) // columns), 1)
    figure = Drawn((1.5 * columns, 1.83 * rows + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=12)
    wide, high = 32, 39  # of 28 pixels each, with two lines above it
    for place, index in enumerate(indices.tolist()):
        x, y = place % columns * wide, place // columns * high
        probability, predicted = logits[index].softmax(0).max(0)
        true = int(labels[index])
        axes.imshow(images[index, 0].numpy(), cmap=INK, extent=(x, x + 28, y + 28, y))
        colour = "black" if true == int(predicted) else ORANGE
        text = f"{true}, predicted {int(predicted)}\n{100 * probability:.1f} %"
        axes.text(x + 14, y - 1, text, color=colour, fontsize=9, ha="center", va="bottom", in_layout=False)
    axes.set(xlim=(-2, columns * wide - 2), ylim=(rows * high - 10, -13))
    return figure


def filters(network: nn.Module) -> Figure:
    """Draw the filters of C1, the network's first convolution of one map, on one scale.

    Raises:
        ValueError: the network has no convolution.
    """
    c1 = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if c1 is None:
        raise ValueError(f"network must have a torch.nn.Conv2d, {type(network).__name__} has none; pass LeNet5")
    weights = c1.weight.detach()[:, 0].cpu()
    largest = weights.abs().max().item()
    figure = Drawn((11, 2.6), layout="constrained")
    figure.suptitle(f"C1: the {len(weights)} 5x5 filters (blue adds, red takes away)")
    row = figure.subplots(1, len(weights))
    _blank(row)
    for axes, weight in zip(row, weights, strict=True):
        shown = axes.imshow(weight.numpy(), cmap="RdBu", vmin=-largest, vmax=largest)
    figure.colorbar(shown, ax=row)
    return figure


def feature_maps(network: nn.Module, image: Tensor, digit: int) -> Figure:
    """Draw a digit on its way through the layers of maps.

    Args:
        network: with a method `feature_maps`, as LeNet5's.
        image: (1, 28, 28), normalised, on the network's device.
        digit: what it is called.

    Raises:
        ValueError: the network has no `feature_maps`.
    """
    maps_of: Any = getattr(network, "feature_maps", None)
    if maps_of is None:
        raise ValueError(f"network must have a method feature_maps, {type(network).__name__} has none; see LeNet5's")
    with torch.no_grad():
        layers = {name: maps.cpu() for name, maps in maps_of(image.unsqueeze(0)).items()}
    figure = Drawn((12, 4.6), layout="constrained")
    figure.suptitle(f"A {digit} through the network (the lighter, the stronger)")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 7])
    axes = left.subplots()
    axes.set_axis_off()
    axes.set_title("input", fontsize=9)
    axes.imshow(image[0].cpu().numpy(), cmap="gray")
    rows = right.subplots(4, 1)
    for axes, (name, maps) in zip(rows, layers.items(), strict=True):
        axes.set_axis_off()
        axes.set_title(f"{name}  {maps.shape[1]}@{maps.shape[2]}x{maps.shape[3]}", loc="left", fontsize=9)
        axes.set_anchor("W")
        axes.imshow(_tiles(maps[0].unsqueeze(1), columns=16, gap=1 + maps.shape[3] // 14), cmap="magma")
    return figure


def samples(originals: Tensor, distorted: Sequence[Tensor] = ()) -> Figure:
    """Draw samples in a row, and distortions of them in rows below.

    Args:
        originals: (N, 1, 28, 28), in [0, 1].
        distorted: of these, in the same shape: each a distortion of all.
    """
    rows = [originals, *distorted]
    columns = len(originals)
    figure = Drawn((columns, len(rows) + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    title = "Training samples"
    axes.set_title(f"{title}: unchanged (top), and distorted as the network gets them" if distorted else title)
    axes.imshow(_tiles(torch.cat(rows), columns, gap=2), cmap=INK, vmin=0, vmax=1)
    return figure


def _tiles(images: Tensor, columns: int, gap: int) -> Any:
    """One picture of many (N, 1, H, W); what is between them stays blank. Far quicker to draw than axes for each."""
    return make_grid(images, nrow=columns, padding=gap, pad_value=float("nan"))[0].numpy()


def rejection(logits: Tensor, labels: Tensor) -> Figure:
    """Draw the error on the rest against the fraction that is rejected.

    Args:
        logits: (N, 10).
        labels: (N,), the true digits.
    """
    rejected, error = rejection_curve(logits, labels)
    figure = Drawn((7.5, 4.8), layout="constrained")
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


def calibration(logits: Tensor, labels: Tensor) -> Figure:
    """Draw accuracy against probability: equal where the network is calibrated.

    Args:
        logits: (N, 10).
        labels: (N,), the true digits.
    """
    probability, predicted = logits.softmax(1).max(1)
    right = (predicted == labels).double()
    bins = (probability * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    counts = torch.bincount(bins, minlength=CALIBRATION_BINS)
    centres = (torch.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    filled = counts > 0
    accuracy = torch.bincount(bins, right, minlength=CALIBRATION_BINS)[filled] / counts[filled]
    figure = Drawn((6.4, 6.4), layout="constrained")
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
