"""Training speed beside the tutorial's loop, the Trainer over its DataLoader and a bare loop. Run by `make bench`.

One epoch of each in turn, round after round, so that a machine that is slow for a while is slow for all. Speeds are
medians over the rounds; ratios are medians of the ratios within a round. The two that need a quarter of a minute for an
epoch take part in every third round. Exits with 1 when over a bound.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import lightning
import torch
from rich.console import Console
from rich.table import Table

from lenet_lightning import LeNet5, weights
from lenet_lightning.data import files
from lenet_lightning.data.download import fetch
from lenet_lightning.inference.recognizer import BATCH_SIZE, Recognizer
from tests.benchmarks.throughput import BARE, LOOPS, OURS, TRAINER, TUTORIAL, fit

BATCH_SIZES = (64, 256)


def prediction(root: Path, batch_size: int) -> tuple[float, float]:
    """Images per second of the bare network on normalised tensors, and of Recognizer on bytes, batch by batch."""
    recognizer, images = Recognizer(weights.SHIPPED), files.training_images(root)
    network, _ = weights.load(weights.SHIPPED)
    normalised = torch.from_numpy(images).unsqueeze(1).float().div(255).sub(LeNet5.MEAN).div(LeNet5.STD)
    started = time.perf_counter()
    with torch.inference_mode():
        torch.cat([network(batch) for batch in normalised.split(batch_size)])
    halfway = time.perf_counter()
    recognizer.logits(images)
    return len(images) / (halfway - started), len(images) / (time.perf_counter() - halfway)


SLOW = {name: LOOPS[name] for name in (TUTORIAL, TRAINER)}
FAST = {name: LOOPS[name] for name in (BARE, OURS)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--root", type=Path, default=Path("data"))
    args = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    fetch(args.root)

    speed: dict[tuple[str, int], float] = {}
    against_bare: dict[tuple[str, int], float] = {}
    for batch_size in BATCH_SIZES:
        rounds = []
        for number in range(args.rounds):
            contenders = FAST if number % 3 else SLOW | FAST
            rounds.append({name: epoch(args.root, batch_size) for name, epoch in contenders.items()})
            print(f"batch {batch_size}: round {number + 1} of {args.rounds} done", file=sys.stderr, flush=True)
        for name in SLOW | FAST:
            taken = [figures for figures in rounds if name in figures]
            speed[name, batch_size] = statistics.median(figures[name] for figures in taken)
            against_bare[name, batch_size] = statistics.median(figures[BARE] / figures[name] for figures in taken)
            if name == OURS:
                print(
                    f"batch {batch_size}: ours against bare",
                    [round(f[BARE] / f[name], 2) for f in taken],
                    file=sys.stderr,
                )
    predicted = [prediction(args.root, BATCH_SIZE) for _ in range(args.rounds)]
    against_network = statistics.median(bare / recognized for bare, recognized in predicted)
    rows = fit(args.root, "default.yaml")
    default_s = sum(float(row["time/epoch_s"]) for row in rows)

    table = Table(title="Training, images per second")
    table.add_column("")
    for batch_size in BATCH_SIZES:
        table.add_column(f"batch {batch_size}", justify="right")
        table.add_column("time, bare = 1", justify="right")
    for name in SLOW | FAST:
        cells = [(f"{speed[name, size]:,.0f}", f"{against_bare[name, size]:.2f}") for size in BATCH_SIZES]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    console = Console(width=110)
    console.print(table)
    bare, recognized = (statistics.median(speeds) for speeds in zip(*predicted, strict=True))
    console.print(f"Prediction, images per second: {recognized:,.0f} from bytes, the bare network {bare:,.0f}")

    tutorial_epoch_s = 60_000 / speed[TUTORIAL, 64]
    default = f"{len(rows)} epochs of default.yaml, {default_s:.0f} s, in tutorial's epochs of {tutorial_epoch_s:.1f} s"
    bounds = [
        ("time of ours, bare = 1, batch 64", against_bare[OURS, 64], "at most", 1.20),
        ("time of ours, bare = 1, batch 256", against_bare[OURS, 256], "at most", 1.10),
        ("speed of ours, tutorial loop = 1, batch 64", speed[OURS, 64] / speed[TUTORIAL, 64], "at least", 2.0),
        (default, default_s / tutorial_epoch_s, "at most", 6.0),
        ("prediction from bytes, bare network = 1, batch 256", against_network, "at most", 1.2),
    ]
    failed = False
    for what, figure, rule, bound in bounds:
        holds = figure <= bound if rule == "at most" else figure >= bound
        failed |= not holds
        console.print(f"{'ok  ' if holds else 'OVER'} {what}: {figure:.2f} ({rule} {bound:.2f})")
    console.print(
        f"{args.rounds} rounds; {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
