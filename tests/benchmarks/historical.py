"""The results of docs/1998.md: seeds of the historical configs, and what is made of them.

    python -m tests.benchmarks.historical configs/lenet5_1998.yaml --seeds 1 2 3 --jobs 2

Runs go side by side, one thread each. What is finished is measured and kept in docs/1998/ at once: the test error after
each pass (of checkpoints that were kept on the way: nothing is chosen by it), the training error, what is to be
rejected. Without a config, or at the end: the table and the pictures of docs/1998.md, from all that is kept.
"""

import argparse
import csv
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lenet_lightning.data.dataset import ResidentDigits
from lenet_lightning.inference.recognizer import Recognizer
from lenet_lightning.networks.lenet5_1998 import bitmaps
from tests.benchmarks.seeds import train
from tests.benchmarks.summary import interval, spread

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "1998"
DOCUMENT = ROOT / "docs" / "1998.md"
BEGIN, END = "<!-- results, written by tests.benchmarks.historical -->", "<!-- end of results -->"

# of the paper, in %: test error, training error, rejected so that 0.5 % of the rest is wrong
PAPER = {
    "lenet5_1998": ("0.95", "0.35", "not given"),
    "lenet5_1998_distortions": ("0.8", "not given", "not given"),
    "lenet1": ("1.7", "not given", "3.7"),
}
OF_RUN = ("seed", "train_seconds", "epochs", "threads", "processor", "accelerator", "versions", "git_commit")


def run(config: Path, seed: int) -> None:
    """Train a seed unless that was done, and keep its figures."""
    passes = Path(f"runs/seeds-{config.stem}/{seed}/passes")
    every_pass = {
        "+": "lightning.pytorch.callbacks.ModelCheckpoint",
        ".dirpath": passes,
        ".filename": "{epoch}",
        ".save_top_k": -1,
        ".save_weights_only": True,
        ".save_on_train_epoch_end": True,
    }
    options = [f"--trainer.callbacks{name}={value}" for name, value in every_pass.items()]
    results = train(config, seed, *options, OMP_NUM_THREADS="1")
    file = KEPT / f"{config.stem}-{seed}.json"
    if not file.exists():
        KEPT.mkdir(exist_ok=True)
        file.write_text(json.dumps(measure(config, results, passes), indent=2) + "\n")
        print(f"kept {file}", flush=True)


def measure(config: Path, results: Path, passes: Path) -> dict[str, Any]:
    """Give the figures of a finished run, errors in %."""
    made = json.loads(results.read_text())
    with (results.parent / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/acc"]]
    checkpoints = [passes / f"epoch={number}.ckpt" for number in range(1, made["epochs"] + 1)]
    test, train = (ResidentDigits.read(Path("data"), train=train) for train in (False, True))
    by_pass = [error(checkpoint, test) for checkpoint in checkpoints]
    assert by_pass[-1] == round(100 * (1 - made["test/acc"]), 4), "the last pass is not what the run was tested with"
    return {
        "config": config.name,
        **{name: made[name] for name in OF_RUN},
        "test_error": by_pass,
        "error_while_training": [round(100 * (1 - float(row["train/acc"])), 4) for row in rows],
        "training_error": error(checkpoints[-1], train),
        "rejected_for_error_0.5": round(100 * made["test/rejected_for_error_0.005"], 4),
    }


def error(checkpoint: Path, digits: ResidentDigits) -> float:
    """Give the percentage that a checkpoint reads wrong."""
    logits = Recognizer(checkpoint).logits(digits.images.squeeze(1).numpy())
    return round(100 * float((logits.argmax(1) != digits.labels.numpy()).mean()), 4)


def kept() -> dict[str, list[dict[str, Any]]]:
    """Give the figures of all runs that were kept, by config."""
    return {name: [json.loads(f.read_text()) for f in sorted(KEPT.glob(f"{name}-[0-9]*.json"))] for name in PAPER}


def table(of: dict[str, list[dict[str, Any]]]) -> str:
    """Give the results as Markdown: means over the seeds, sd in brackets."""
    lines = [
        "| config | seeds | test error | 95 % of the mean | paper | training error | paper "
        "| rejected for 0.5 % | paper | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in of.items():
        if not runs:
            continue
        test = [run["test_error"][-1] for run in runs]
        training = [run["training_error"] for run in runs]
        rejected = [run["rejected_for_error_0.5"] for run in runs]
        seconds = statistics.mean(run["train_seconds"] for run in runs)
        seeds = ", ".join(str(run["seed"]) for run in runs)
        lines.append(
            f"| `{name}` | {seeds} | **{spread(test)}** | {interval(test)} | {PAPER[name][0]} | {spread(training)} "
            f"| {PAPER[name][1]} | {spread(rejected)} | {PAPER[name][2]} | {seconds:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(of: dict[str, list[dict[str, Any]]]) -> None:
    """Draw the errors over passes: each seed thin, their mean thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for colour, (name, runs) in zip(("C0", "C2", "C3"), of.items(), strict=True):
        if not runs:
            continue
        passes = range(1, len(runs[0]["test_error"]) + 1)
        for run in runs:
            axes.plot(passes, run["test_error"], color=colour, linewidth=0.7, alpha=0.5)
        for key, style, what in (("test_error", "-", "test"), ("error_while_training", ":", "while training")):
            mean = [statistics.mean(values) for values in zip(*(run[key] for run in runs), strict=True)]
            axes.plot(passes, mean, style, color=colour, linewidth=2, label=f"{name}, {what}")
    axes.set(xlabel="pass", ylabel="error in %, logarithmic", yscale="log", xticks=(1, 5, 10, 15, 20))
    axes.set_yticks([0.3, 0.5, 1, 2, 5], ["0.3", "0.5", "1", "2", "5"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(ROOT / "docs" / "1998-errors.png", dpi=120)


def draw_bitmaps() -> None:
    """Draw what F6 should show for each digit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2), layout="constrained")
    for digit, (axes, bitmap) in enumerate(zip(figure.subplots(1, 10), bitmaps().view(10, 12, 7), strict=True)):
        axes.pcolormesh(bitmap.flip(0), cmap="gray_r", edgecolors="lightgray", linewidth=0.5)
        axes.set_aspect("equal")
        axes.set(xticks=(), yticks=(), title=digit)
    figure.savefig(ROOT / "docs" / "bitmaps.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.config:
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda seed: run(args.config, seed), args.seeds))
    of = kept()
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table(of)}\n{END}{rest.split(END)[1]}")
    draw(of)
    draw_bitmaps()
    print(table(of))


if __name__ == "__main__":
    main()
