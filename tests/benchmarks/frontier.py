"""The picture of test accuracy against seconds of training, of this project's recipes and of others'."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tests.benchmarks import kept
from tests.benchmarks.peers import PEERS
from tests.benchmarks.summary import half_width
from tests.benchmarks.targets import RUNS

AUTHORS = 98.75  # %, of the tutorial, as its author reports
BLUE, GREY = "#0072B2", "#777777"
LINES = (90, 95, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7)  # %


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
        name = " ".join([config, *(option.rpartition(".")[2].replace("=", " ") for option in options[:1])])
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
    """Draw them on logarithmic axes, ours joined, with the 95 % interval of each mean."""
    figure = Figure((8.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    for ours, colour in ((True, BLUE), (False, GREY)):
        chosen = sorted((point for point in shown if point.ours == ours), key=lambda point: point.seconds)
        seconds, means = [point.seconds for point in chosen], [statistics.mean(point.accuracies) for point in chosen]
        halves = [half_width(point.accuracies) for point in chosen]
        axes.errorbar(seconds, [100 - mean for mean in means], halves, fmt="o-" if ours else "s", color=colour)
        for point, mean in zip(chosen, means, strict=True):
            axes.annotate(
                f"{point.name}\n{mean:.2f} %, {point.seconds:,.{int(point.seconds < 10)}f} s",
                (point.seconds, 100 - mean),
                xytext=(8, -20),
                textcoords="offset points",
                color=colour,
                fontsize=8,
            )
    axes.yaxis.set_major_locator(FixedLocator([100 - each for each in LINES]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    errors = [100 - statistics.mean(point.accuracies) for point in shown]
    axes.set_ylim(1.3 * max(errors), min(errors) / 1.25)  # the more accurate, the higher
    axes.set_xlim(min(point.seconds for point in shown) / 1.5, 3 * max(point.seconds for point in shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g} s"))
    axes.set_xlabel("training time on two cores")
    axes.set_title("Test accuracy (mean and its 95 % interval) against training time")
    axes.grid(alpha=0.3)
    return figure
