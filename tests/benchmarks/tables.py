"""README's tables of figures, from what docs/benchmarks/ keeps.

    python -m tests.benchmarks.tables

A table stands between two comments that name it; a test holds README to what is kept.
"""

import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks import kept
from tests.benchmarks.startup import COMMANDS
from tests.benchmarks.summary import interval, spread
from tests.benchmarks.targets import RUNS
from tests.benchmarks.throughput import BARE, LOOPS, OURS

README = Path(__file__).parents[2] / "README.md"
PLACE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
WHAT = {
    "record.yaml": "the most accurate: one network, one forward pass",
    "default.yaml": "15 epochs, AdamW, one cycle, affine and elastic distortion, weight averaging",
    "tutorial.yaml": "the tutorial's recipe: SGD, 50 epochs (its author: 98.75 %)",
}


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Give a table, its first column to the left."""
    header = list(header)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def values(rows: list[dict[str, Any]], key: str, **where: Any) -> list[float]:
    """Give a figure of the rows that are meant."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return [row[key] for row in chosen if row[key] is not None]


def accuracy() -> str:
    """Give the table of configs: test accuracy over seeds, and training seconds."""
    rows, lines = kept.read("seeds"), []
    targets = [row | {"threads": 2, "side_by_side": 1} for row in kept.read("targets") if row["run"] == "default"]
    for config, what in WHAT.items():
        of = [row for row in [*rows, *targets] if row["config"] == config]
        if not of:
            continue
        tested, validated = values(of, "test_acc"), values(of, "val_acc")
        threads, beside = of[0]["threads"], of[0]["side_by_side"]
        how = f"{spread(values(of, 'train_s'), 0)} s, {threads} thread{'s' * (threads > 1)}" + ", two at once" * (
            beside > 1
        )
        lines.append(
            [
                f"`{config}`",
                what,
                f"**{spread(tested)}**",
                str(len(tested)),
                interval(tested),
                spread(validated) if validated else "none kept apart",
                how,
            ]
        )
    header = (
        "config",
        "what it is",
        "test accuracy, % (sd)",
        "n",
        "95 % of the mean",
        "validation, % (sd)",
        "training",
    )
    return markdown(header, lines)


def tutorial_seconds(rows: list[dict[str, Any]]) -> float:
    """Give the seconds of the tutorial's 50 epochs."""
    return sum(sum(row["epoch_s"]) for row in rows if row["run"] == "tutorial")


def targets() -> str:
    """Give the table of times to an accuracy."""
    rows = kept.read("targets")
    whole = tutorial_seconds(rows)
    epochs = sum(len(row["epoch_s"]) for row in rows if row["run"] == "tutorial")
    lines = [["the tutorial's own loop", f"{epochs}", "", "", "", f"{whole:,.0f}", "1", "over that", "1"]]
    for run in RUNS:
        of = [row for row in rows if row["run"] == run]
        tested, train, process = (values(of, key) for key in ("test_acc", "train_s", "process_s"))
        goal = f"{run} %" if run[0].isdigit() else "`default.yaml`"
        lines.append(
            [
                goal,
                str(of[0]["epochs"]),
                spread(tested),
                str(len(tested)),
                interval(tested),
                spread(train, 1),
                f"{whole / statistics.mean(train):,.0f}",
                spread(process, 1),
                f"{whole / statistics.mean(process):,.0f}",
            ]
        )
    header = (
        "to",
        "epochs",
        "test accuracy, % (sd)",
        "n",
        "95 % of the mean",
        "training, s (sd)",
        "times shorter",
        "whole process, s (sd)",
        "times shorter",
    )
    return markdown(header, lines)


def throughput() -> str:
    """Give the table of training speeds, and of our time beside the bare loop's within a round."""
    rows = kept.read("throughput")
    columns = sorted({(row["threads"], row["batch_size"]) for row in rows}, reverse=False)
    columns.sort(key=lambda column: (-column[0], column[1]))
    lines = [
        [name, *(spread(values(rows, "images_per_s", loop=name, threads=t, batch_size=b), 0) for t, b in columns)]
        for name in LOOPS
    ]
    ratios = [f"**{spread(against(rows, t, b))}**" for t, b in columns]
    bounds = [interval(against(rows, t, b)) for t, b in columns]
    rounds = len({row["round"] for row in rows})
    header = (f"images per second, mean (sd), n = {rounds}", *(f"batch {b}, {t} thr." for t, b in columns))
    lines += [["our time, the bare loop's = 1", *ratios], ["95 % of that mean", *bounds]]
    return markdown(header, lines)


def against(rows: list[dict[str, Any]], threads: int, batch_size: int) -> list[float]:
    """Give our time as a multiple of the bare loop's, round by round."""
    bare, ours = (
        {row["round"]: row["images_per_s"] for row in rows if (row["loop"], row["threads"], row["batch_size"]) == which}
        for which in ((BARE, threads, batch_size), (OURS, threads, batch_size))
    )
    return [bare[number] / ours[number] for number in bare if number in ours]


def growth() -> str:
    """Give the table of how training time grows."""
    rows = kept.read("growth")
    sizes = sorted({(row["epochs"], row["digits"]) for row in rows})
    lines = []
    for epochs, digits in sizes:
        seconds = values(rows, "train_s", epochs=epochs, digits=digits)
        each = [1e6 * second / (epochs * digits) for second in seconds]
        lines.append(
            [str(epochs), f"{digits:,}", spread(seconds), str(len(seconds)), interval(seconds), spread(each, 1)]
        )
    header = ("epochs", "digits", "training, s (sd)", "n", "95 % of the mean", "microseconds a digit (sd)")
    return markdown(header, lines)


def startup() -> str:
    """Give the table of start-up times."""
    rows = kept.read("startup")
    yardstick = {row["round"]: row["seconds"] for row in rows if "read the digits" in row["command"]}
    lines = []
    for command in COMMANDS:
        of = {row["round"]: row["seconds"] for row in rows if row["command"] == command}
        times = [seconds / yardstick[number] for number, seconds in of.items()]
        seconds = list(of.values())
        lines.append([command, spread(seconds), str(len(seconds)), interval(seconds), spread(times)])
    return markdown(("from start to", "seconds (sd)", "n", "95 % of the mean", "import and read = 1 (sd)"), lines)


def inference() -> str:
    """Give the table of reading speeds."""
    rows, lines = kept.read("inference"), []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        rate, latency, memory = (values(rows, key, kind=kind) for key in ("images_per_s", "latency_us", "memory_mb"))
        rates, latencies = (spread(rate, 0), interval(rate, 0)), (spread(latency, 0), interval(latency, 0))
        lines.append([kind, *rates, *latencies, spread(memory, 0), str(len(rate))])
    header = ("", "images per second (sd)", "95 % of the mean", "one, microseconds (sd)", "95 % of the mean")
    return markdown((*header, "memory at most, MB (sd)", "n"), lines)


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table for table in (accuracy, targets, throughput, growth, startup, inference)
}


def written(readme: str) -> str:
    """Give a README with its tables as they should be."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}{place[3]}", readme)


def main() -> None:
    README.write_text(written(README.read_text()))


if __name__ == "__main__":
    main()
