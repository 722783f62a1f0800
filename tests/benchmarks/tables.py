"""Write the tables of the READMEs and of those in docs/ that have some from the measurements in docs/benchmarks/.

    python -m tests.benchmarks.tables

New measurements in runs/benchmarks/ are published there first. A table stands between two comments that name it; a
test compares the documents with the published measurements.
"""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from tests.benchmarks import frontier, kept
from tests.benchmarks.peers import PEERS
from tests.benchmarks.processes import ONE, THREADS, TWO, WAYS
from tests.benchmarks.startup import COMMANDS, YARDSTICK
from tests.benchmarks.summary import full, interval, spread
from tests.benchmarks.targets import RUNS
from tests.benchmarks.throughput import BARE, OURS

DOCUMENTS = tuple(
    kept.ROOT / name
    for name in ("README.md", "README.zh-CN.md", "docs/benchmarks.md", "docs/scale.md", "docs/zipcode.md")
)
Read = Callable[[str], kept.Rows]
PLACE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
WHAT = {
    "record.yaml": "the most accurate: one network, one forward pass",
    "default.yaml": "15 epochs, AdamW, one cycle, affine and elastic distortion, weight averaging",
    "tutorial.yaml": "the tutorial's recipe: SGD, 50 epochs (its author: 98.75 %)",
}
# of a network: seconds for one message, bytes a second
NETWORKS = {"1 Gbit/s, 0.15 ms": (0.15e-3, 125e6), "25 Gbit/s, 0.03 ms": (0.03e-3, 3.125e9)}
MACHINES = (1, 2, 4, 8, 16, 32, 64)
GRADIENTS = 4 * 61_706  # bytes
EPOCH, BATCH = 215, 256  # steps of default.yaml's epoch, and samples of one
# of the READMEs' table: header, the tutorial's row, then each config's description
ENGLISH = {
    "header": ("run", "what it is", "test accuracy", "seeds", "training time"),
    "tutorial": ("the tutorial's own loop", "SGD, 50 epochs", "98.75 % (its author's)"),
    "fast.yaml": "1 epoch, no augmentation, smoothed labels",
    "default.yaml": "15 epochs, augmentation, weight averaging",
    "record.yaml": "40 epochs, stronger augmentation, all 60,000 samples",
}
CHINESE = {
    "header": ("运行", "说明", "测试集准确率", "随机种子数", "训练时间"),
    "tutorial": ("教程自己的训练循环", "SGD、50 轮", "教程作者报告 98.75 %"),
    "fast.yaml": "1 轮、无数据增强、标签平滑",
    "default.yaml": "15 轮、数据增强、权重平均",
    "record.yaml": "40 轮、更强的数据增强、用全部 60,000 个样本训练",
}


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> str:
    """Return a table whose first `words` columns are aligned to the left, the others to the right."""
    header = list(header)
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def values(rows: kept.Rows, key: str, **where: Any) -> list[float]:
    """Return the values of `key` in the rows where the other columns are as given."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return [row[key] for row in chosen if row[key] is not None]


def results(read: Read, words: dict[str, Any]) -> str:
    """Return the READMEs' table: mean test accuracy, number of seeds and mean training time of each run."""
    rows = read("targets")
    epochs = [seconds for row in rows if row["run"] == "tutorial" for seconds in row["epoch_s"]]
    lines = [[*words["tutorial"], "", f"{sum(epochs):,.0f} s"]]
    for config in ("fast.yaml", "default.yaml", "record.yaml"):
        of = whole_runs(rows, config)
        mean, seconds = (statistics.mean(values(of, key)) for key in ("test_acc", "train_s"))
        lines.append(
            [f"`{config}`", words[config], f"**{mean:.2f} %**", str(len(of)), f"{seconds:,.{int(seconds < 10)}f} s"]
        )
    return markdown(words["header"], lines, words=2)


def accuracy(read: Read) -> str:
    """Return the table of configs: test accuracy over seeds, and training seconds."""
    rows, lines = read("seeds"), []
    in_turn = [row | {"threads": 2, "side_by_side": 1} for row in read("targets")]
    for config, what in WHAT.items():
        of = [row for row in rows if row["config"] == config] or whole_runs(in_turn, config)
        if not of:
            continue
        validated = values(of, "val_acc")
        threads = f"{of[0]['threads']}{', two runs at once' * (of[0]['side_by_side'] > 1)}"
        lines.append(
            [
                f"`{config}`",
                what,
                f"**{spread(values(of, 'test_acc'))}**<br>{interval(values(of, 'test_acc'))}",
                full(validated) if validated else "none held out",
                str(len(of)),
                full(values(of, "train_s"), 0),
                threads,
            ]
        )
    header = ("config", "what it is", "test accuracy, %", "validation, %", "n", "training, s", "threads")
    return markdown(header, lines, words=2)


def whole_runs(rows: kept.Rows, config: str) -> kept.Rows:
    """Return the rows of the target that is this config, as it is."""
    return [row for row in rows if RUNS.get(row["run"]) == (config,)]


def targets(read: Read) -> str:
    """Return the table of times to an accuracy."""
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
                f"to {run} %: `{' '.join([of[0]['config'], *RUNS[run][1:]])}`",
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
        "run",
        "epochs",
        "test accuracy, %",
        "n",
        "training, s",
        "speed-up",
        "whole command, s",
        "speed-up",
    )
    return markdown(header, lines)


def peers(read: Read) -> str:
    """Return the table of others' recipes, and of ours that have been timed."""
    rows, lines = read("peers"), []
    for name in PEERS:
        of = [row for row in rows if row["peer"] == name]
        if of:
            epochs = sorted({row["epochs"] for row in of})
            lines.append(
                [
                    name,
                    of[0]["what"],
                    f"{of[0]['parameters']:,}",
                    " to ".join(map(str, epochs[:: max(1, len(epochs) - 1)])),
                    *(full(values(of, key), digits) for key, digits in (("test_acc", 2), ("train_s", 1))),
                    str(len(of)),
                ]
            )
    header = ("recipe", "network", "parameters", "epochs", "test accuracy, %", "training, s", "n")
    return markdown(header, lines, words=2)


def throughput(read: Read) -> str:
    """Return the table of training speeds; its last row is our time relative to the bare loop's within a round."""
    rows = read("throughput")
    columns = sorted({(row["threads"], row["batch_size"]) for row in rows}, key=lambda column: (-column[0], column[1]))
    lines, rounds = [], Counter(row["loop"] for row in rows)
    for name in rounds:
        each = (values(rows, "images_per_s", loop=name, threads=t, batch_size=b) for t, b in columns)
        lines.append([name, str(rounds[name] // len(columns)), *(full(cell, 0) for cell in each)])
    ratios = [against(rows, t, b) for t, b in columns]
    cells = (f"{full(each)}<br>median {statistics.median(each):.2f}" for each in ratios)
    lines.append(["**our time / the bare loop's**", str(len(ratios[0])), *cells])
    header = (f"batch {b},<br>{t} thread{'s' * (t > 1)}" for t, b in columns)
    return markdown(("images per second", "n", *header), lines)


def against(rows: kept.Rows, threads: int, batch_size: int) -> list[float]:
    """Return our time as a multiple of the bare loop's, round by round."""
    bare, ours = (
        {row["round"]: row["images_per_s"] for row in rows if (row["loop"], row["threads"], row["batch_size"]) == which}
        for which in ((BARE, threads, batch_size), (OURS, threads, batch_size))
    )
    return [bare[number] / ours[number] for number in bare if number in ours]


def growth(read: Read) -> str:
    """Return the table of how training time grows."""
    rows = read("growth")
    lines = []
    for epochs, digits in sorted({(row["epochs"], row["digits"]) for row in rows}):
        seconds = values(rows, "train_s", epochs=epochs, digits=digits)
        each = [1e6 * second / (epochs * digits) for second in seconds]
        lines.append([str(epochs), f"{digits:,}", full(seconds), full(each, 1), str(len(seconds))])
    return markdown(("epochs", "samples", "training, s", "microseconds a sample", "n"), lines)


def startup(read: Read) -> str:
    """Return the table of start-up times."""
    rows = read("startup")
    yardstick = {row["round"]: row["seconds"] for row in rows if row["command"] == YARDSTICK}
    lines = []
    for command in COMMANDS:
        of = {row["round"]: row["seconds"] for row in rows if row["command"] == command}
        times = [seconds / yardstick[number] for number, seconds in of.items() if number in yardstick]
        lines.append([command, full(list(of.values())), full(times), str(len(of))])
    return markdown(("from start to", "seconds", "import and read the data = 1", "n"), lines)


def inference(read: Read) -> str:
    """Return the table of inference speeds."""
    rows, lines = read("inference"), []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        cells = [full(values(rows, key, kind=kind), 0) for key in ("images_per_s", "latency_us", "memory_mb")]
        lines.append([kind, *cells, str(len(values(rows, "latency_us", kind=kind)))])
    return markdown(("", "images per second", "one, microseconds", "memory at most, MB", "n"), lines)


def step(rows: kept.Rows, way: tuple[int, int, int]) -> float:
    """Return the milliseconds of a step in one way, in the quickest round: whatever else a machine does only adds."""
    return min(values(rows, "step_ms", **dict(zip(("processes", "threads", "batch_size"), way, strict=True))))


def processes(read: Read) -> str:
    """Return the table of what a step takes in one and in two processes, beside one with one thread."""
    rows, lines = read("processes"), []
    for way in (ONE, TWO, THREADS):
        quickest = step(rows, way)
        ratio = quickest / step(rows, ONE)
        lines.append([*map(str, way), f"{quickest:.1f}", f"{EPOCH * quickest / 1000:.1f}", f"{ratio:.2f}"])
    header = ("processes", "threads of each", "samples a step of each", "ms a step", "s an epoch", "one = 1")
    return markdown(header, lines, words=0)


def computing_ms(rows: kept.Rows, count: int) -> float:
    """Return the milliseconds of a step of `count` processes without a network.

    It is a line through those of one process by its samples, and what a second one on the same machine adds.
    """
    alone = [way for way in WAYS if way[:2] == ONE[:2]]
    slope, constant = statistics.linear_regression([way[2] for way in alone], [step(rows, way) for way in alone])
    added = step(rows, TWO) - (constant + slope * BATCH / 2)
    return constant + slope * BATCH / count + max(added, 0) * (count > 1)


def machines(read: Read) -> str:
    """Return the table, on paper, of an epoch on many machines whose gradients are added up in a ring."""
    rows, lines = read("processes"), []
    for count in MACHINES:
        computing = computing_ms(rows, count)
        line = [str(count), f"{computing:.1f}"]
        for latency, bandwidth in NETWORKS.values():
            network = 2000 * (count - 1) * (latency + GRADIENTS / count / bandwidth)
            line += [f"{network:.1f}", f"{EPOCH * (computing + network) / 1000:.1f}"]
        lines.append(line)
    columns = [column for name in NETWORKS for column in (f"{name}: network, ms", "s an epoch")]
    return markdown(("machines", "computing, ms a step", *columns), lines, words=0)


def rows(read: Read) -> str:
    """Return the table of rows of five digits, by kind."""
    lines = []
    for kind, of in read("zipcode")[-1]["kinds"].items():
        low, high = of["interval"]
        needed, least, most = of["rejected"]
        lines.append(
            [
                kind,
                f"{of['right']} of {of['rows']}",
                f"{of['many_right'] / of['many']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{needed:.1%}",
                f"{least:.1%} to {most:.1%}",
            ]
        )
    header = ("kind", "right", "of 1,000 others", "95 %", "rejected for 1 % wrong", "95 %")
    return markdown(header, lines)


def calibration(read: Read) -> str:
    """Return the table of what is claimed for rows, and what is true."""
    lines = [
        [f"{of['from']:g} to {of['to']:g}", f"{of['rows']:,}", f"{of['claimed']:.1%}", f"{of['right']:.1%}"]
        for of in read("zipcode")[-1]["calibration"]
    ]
    return markdown(("claimed", "rows", "mean claim", "right"), lines)


TABLES: dict[str, Callable[[Read], str]] = {
    table.__name__: table
    for table in (
        *(accuracy, targets, peers, throughput, growth),
        *(startup, inference, processes, machines, rows, calibration),
    )
} | {"results": partial(results, words=ENGLISH), "results-zh": partial(results, words=CHINESE)}


def written(document: str) -> str:
    """Return a document with its tables replaced by those of the published measurements."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]](kept.published)}{place[3]}", document)


def main() -> None:
    kept.publish()
    for document in DOCUMENTS:
        document.write_text(written(document.read_text()))
    frontier.draw(frontier.points(kept.published)).savefig(kept.ROOT / "docs" / "frontier.png", dpi=110)


if __name__ == "__main__":
    main()
