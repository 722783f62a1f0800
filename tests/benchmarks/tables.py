"""The tables of README and docs/benchmarks.md, from what docs/benchmarks/ keeps.

    python -m tests.benchmarks.tables

What there is in runs/benchmarks/ is published there first. A table stands between two comments that name it; a test
holds the documents to what is published.
"""

import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from tests.benchmarks import kept
from tests.benchmarks.startup import COMMANDS, YARDSTICK
from tests.benchmarks.summary import full, interval, spread
from tests.benchmarks.targets import RUNS
from tests.benchmarks.throughput import BARE, LOOPS, OURS

DOCUMENTS = (kept.ROOT / "README.md", kept.ROOT / "docs" / "benchmarks.md")
Read = Callable[[str], kept.Rows]
PLACE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
WHAT = {
    "record.yaml": "the most accurate: one network, one forward pass",
    "default.yaml": "15 epochs, AdamW, one cycle, affine and elastic distortion, weight averaging",
    "tutorial.yaml": "the tutorial's recipe: SGD, 50 epochs (its author: 98.75 %)",
}


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> str:
    """Give a table, its first columns, of words, to the left."""
    header = list(header)
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def values(rows: kept.Rows, key: str, **where: Any) -> list[float]:
    """Give a figure of the rows that are meant."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return [row[key] for row in chosen if row[key] is not None]


def accuracy(read: Read) -> str:
    """Give the table of configs: test accuracy over seeds, and training seconds."""
    rows, lines = read("seeds"), []
    in_turn = [row | {"threads": 2, "side_by_side": 1} for row in read("targets") if row["run"] == "default"]
    for config, what in WHAT.items():
        of = of_config(rows, config) or of_config(in_turn, config)
        if not of:
            continue
        validated = values(of, "val_acc")
        threads = (
            f"{of[0]['threads']} thread{'s' * (of[0]['threads'] > 1)}{', two at once' * (of[0]['side_by_side'] > 1)}"
        )
        lines.append(
            [
                f"`{config}`",
                what,
                f"**{spread(values(of, 'test_acc'))}**<br>{interval(values(of, 'test_acc'))}",
                full(validated) if validated else "none kept apart",
                str(len(of)),
                full(values(of, "train_s"), 0),
                threads,
            ]
        )
    header = ("config", "what it is", "test accuracy, %", "validation, %", "n", "training, s", "on")
    return markdown(header, lines, words=2)


def of_config(rows: kept.Rows, config: str) -> kept.Rows:
    """Give the rows of a config."""
    return [row for row in rows if row["config"] == config]


def targets(read: Read) -> str:
    """Give the table of times to an accuracy."""
    rows = read("targets")
    epochs = [seconds for row in rows if row["run"] == "tutorial" for seconds in row["epoch_s"]]
    whole = sum(epochs)
    lines = [
        ["the tutorial's loop", str(len(epochs)), "", "", f"{whole:,.0f}, an epoch {full(epochs, 1)}", "1", "", "1"]
    ]
    for run in RUNS:
        of = [row for row in rows if row["run"] == run]
        if not of:
            continue
        train, process = values(of, "train_s"), values(of, "process_s")
        lines.append(
            [
                f"{run} %" if run[0].isdigit() else "`default.yaml`",
                str(of[0]["epochs"]),
                full(values(of, "test_acc")),
                str(len(of)),
                full(train, 1),
                f"**{whole / statistics.mean(train):,.0f}**",
                full(process, 1),
                f"**{whole / statistics.mean(process):,.0f}**",
            ]
        )
    header = (
        "to",
        "epochs",
        "test accuracy, %",
        "n",
        "training, s",
        "times shorter",
        "whole process, s",
        "times shorter",
    )
    return markdown(header, lines)


def throughput(read: Read) -> str:
    """Give the table of training speeds, and of our time beside the bare loop's within a round."""
    rows = read("throughput")
    columns = sorted({(row["threads"], row["batch_size"]) for row in rows}, key=lambda column: (-column[0], column[1]))
    lines = [
        [name, *(full(values(rows, "images_per_s", loop=name, threads=t, batch_size=b), 0) for t, b in columns)]
        for name in LOOPS
        if any(row["loop"] == name for row in rows)
    ]
    lines.append(["**our time, the bare loop's = 1**", *(full(against(rows, t, b)) for t, b in columns)])
    rounds = len({row["round"] for row in rows})
    cells = (f"batch {b},<br>{t} thread{'s' * (t > 1)}" for t, b in columns)
    return markdown((f"images per second, n = {rounds}", *cells), lines)


def against(rows: kept.Rows, threads: int, batch_size: int) -> list[float]:
    """Give our time as a multiple of the bare loop's, round by round."""
    bare, ours = (
        {row["round"]: row["images_per_s"] for row in rows if (row["loop"], row["threads"], row["batch_size"]) == which}
        for which in ((BARE, threads, batch_size), (OURS, threads, batch_size))
    )
    return [bare[number] / ours[number] for number in bare if number in ours]


def growth(read: Read) -> str:
    """Give the table of how training time grows."""
    rows = read("growth")
    lines = []
    for epochs, digits in sorted({(row["epochs"], row["digits"]) for row in rows}):
        seconds = values(rows, "train_s", epochs=epochs, digits=digits)
        each = [1e6 * second / (epochs * digits) for second in seconds]
        lines.append([str(epochs), f"{digits:,}", full(seconds), full(each, 1), str(len(seconds))])
    return markdown(("epochs", "digits", "training, s", "microseconds a digit", "n"), lines)


def startup(read: Read) -> str:
    """Give the table of start-up times."""
    rows = read("startup")
    yardstick = {row["round"]: row["seconds"] for row in rows if row["command"] == YARDSTICK}
    lines = []
    for command in COMMANDS:
        of = {row["round"]: row["seconds"] for row in rows if row["command"] == command}
        times = [seconds / yardstick[number] for number, seconds in of.items() if number in yardstick]
        lines.append([command, full(list(of.values())), full(times), str(len(of))])
    return markdown(("from start to", "seconds", "import and read = 1", "n"), lines)


def inference(read: Read) -> str:
    """Give the table of reading speeds."""
    rows, lines = read("inference"), []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        figures = [full(values(rows, key, kind=kind), 0) for key in ("images_per_s", "latency_us", "memory_mb")]
        lines.append([kind, *figures, str(len(values(rows, "latency_us", kind=kind)))])
    return markdown(("", "images per second", "one, microseconds", "memory at most, MB", "n"), lines)


TABLES: dict[str, Callable[[Read], str]] = {
    table.__name__: table for table in (accuracy, targets, throughput, growth, startup, inference)
}


def written(document: str) -> str:
    """Give a document with its tables as they should be."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]](kept.published)}{place[3]}", document)


def main() -> None:
    kept.publish()
    for document in DOCUMENTS:
        document.write_text(written(document.read_text()))


if __name__ == "__main__":
    main()
