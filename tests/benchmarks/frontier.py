"""The picture of test accuracy against seconds of training, of this project's recipes and of others'."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tests.benchmarks import kept
from tests.benchmarks.peers import PEERS
from tests.benchmarks.targets import RUNS

AUTHORS = 98.75  # %, of the tutorial, as its author reports
BLUE, GREY = "#0072B2", "#777777"
LINES = (60, 80, 90, 95, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7)  # %


class Point(NamedTuple):
    """A recipe: its name, seconds of training, test accuracies in % over its seeds, and whether it is ours."""

    name: str
    seconds: float
    accuracies: list[float]
    ours: bool


def points(read: Callable[[str], kept.Rows]) -> list[Point]:
    """Return the recipes that were measured."""
    targets, found = read("targets"), []
    epochs = [seconds for row in targets if row["run"] == "tutorial" for seconds in row["epoch_s"]]
    found.append(Point("the tutorial", 50 * statistics.mean(epochs), [AUTHORS], False))
    for run, (config, *options) in RUNS.items():
        name = ", ".join([config, *(option.rpartition("=")[2] + " epochs" for option in options)])
        found += of([row for row in targets if row["run"] == run], name, True)
    for peer in PEERS:
        found += of([row for row in read("peers") if row["peer"] == peer], peer.partition(",")[0], False)
    return found


def of(rows: kept.Rows, name: str, ours: bool) -> list[Point]:
    """Return the recipe of these rows; none if there are none."""
    if not rows:
        return []
    seconds = statistics.mean(row["train_s"] for row in rows)
    return [Point(name, seconds, [row["test_acc"] for row in rows], ours)]


def draw(shown: list[Point]) -> Figure:
    """Draw the means, ours joined, and each seed as a pale dot, on logarithmic axes."""
    figure = Figure((10, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    for ours, colour in ((True, BLUE), (False, GREY)):
        chosen = sorted((point for point in shown if point.ours == ours), key=lambda point: point.seconds)
        seconds, means = [point.seconds for point in chosen], [statistics.mean(point.accuracies) for point in chosen]
        axes.plot(seconds, [100 - mean for mean in means], "o-" if ours else "s", color=colour)
        for point, mean in zip(chosen, means, strict=True):
            errors = [100 - accuracy for accuracy in point.accuracies]
            axes.plot([point.seconds] * len(errors), errors, ".", color=colour, alpha=0.4, markeredgewidth=0)
            axes.annotate(
                f"{point.name}\n{mean:.2f} %, {point.seconds:,.{int(point.seconds < 10)}f} s",
                (point.seconds, 100 - mean),
                xytext=(-7, 4 if ours else -24),
                horizontalalignment="right",
                textcoords="offset points",
                color=colour,
                fontsize=8,
            )
    axes.yaxis.set_major_locator(FixedLocator([100 - each for each in LINES]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    errors = [100 - accuracy for point in shown for accuracy in point.accuracies]
    axes.set_ylim(1.3 * max(errors), min(errors) / 1.4)  # the more accurate, the higher
    axes.set_xlim(min(point.seconds for point in shown) / 2.5, 1.5 * max(point.seconds for point in shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g} s"))
    axes.set_xlabel("training time on two cores")
    axes.set_title("Test accuracy, of each seed and their mean, against training time")
    axes.grid(alpha=0.3)
    return figure
