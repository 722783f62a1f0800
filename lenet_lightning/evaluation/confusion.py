"""The picture of which digit was taken for which."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lenet_lightning.evaluation.drawn import Drawn

RIGHT = "#777777"  # grey: only the errors should be seen


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the counts of each label (N,) and prediction (N,), 0 to 9; only the errors are shaded."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    errors = counts - np.diag(counts.diagonal())
    figure = Drawn((7.2, 6.6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(int(errors.max()), 1))
    for true, column in np.argwhere(counts).tolist():
        on_dark = true != column and counts[true, column] > 0.6 * errors.max()
        colour = RIGHT if true == column else "white" if on_dark else "black"
        text = f"{counts[true, column]:,}"
        axes.text(column, true, text, ha="center", va="center", color=colour, in_layout=False)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("predicted digit")
    axes.set_ylabel("true digit")
    axes.set_title(f"{counts.trace():,} of {len(labels):,} right, {errors.sum():,} wrong")
    figure.colorbar(shown, ax=axes, label="errors", shrink=0.8, ticks=MaxNLocator(integer=True))
    return figure
