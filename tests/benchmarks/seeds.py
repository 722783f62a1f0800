"""Test accuracy over preset seeds, of a config that is no run of `targets`.

    python -m tests.benchmarks.seeds configs/tutorial.yaml --seeds 1 2 3

Each seed is a whole `fit` in a process of its own, as many side by side as --jobs says, with a share of the cores each.
A seed that is finished is kept in runs/seeds-<config>/ and not trained again, one that was stopped goes on with its
last epoch, so that hours of work can be stopped and gone on with. The figures are kept in runs/benchmarks/seeds.json.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from tests.benchmarks import kept

TUTORIAL_BATCHES = 938  # of 64 in its 60,000; its author prints the sum of an epoch's losses over them
_writing = Lock()


def finished(folder: Path) -> Path | None:
    return next(iter(folder.glob("2*/results.json")), None)


def train(config: Path, seed: int, *options: str, **environment: str) -> Path:
    folder = Path(f"runs/seeds-{config.stem}/{seed}")
    if not finished(folder):
        command = [sys.executable, "-m", "lenet_lightning", "fit", "--config", str(config), f"--seed_everything={seed}"]
        begun = [f"--ckpt_path={checkpoint}" for checkpoint in sorted(folder.glob("2*/last.ckpt"))[-1:]]
        arguments = [*command, f"--trainer.default_root_dir={folder}", *options, *begun]
        subprocess.run(arguments, check=True, env=os.environ | {"WANDB_MODE": "offline"} | environment)
    return finished(folder)


def curve(results: Path) -> list[dict[str, str]]:
    """Give the rows of a run's epochs."""
    return [row for row in csv.DictReader((results.parent / "metrics.csv").read_text().splitlines()) if row["lr"]]


def keep(config: Path, seed: int, jobs: int) -> Path:
    """Train a seed unless that was done; keep its figures, accuracies in %."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    file = train(config, seed, OMP_NUM_THREADS=str(threads))
    results, rows = json.loads(file.read_text()), curve(file)
    row = {
        "config": config.name,
        "seed": seed,
        "test_acc": round(100 * results["test/acc"], 4),
        "val_acc": max((round(100 * float(row["val/acc"]), 4) for row in rows if row.get("val/acc")), default=None),
        "train_acc": round(100 * float(rows[-1]["train/acc"]), 4),
        "epochs": results["epochs"],
        "train_s": results["train_seconds"],
        "threads": threads,
        "side_by_side": jobs,
    }
    with _writing:
        if (config.name, seed) not in {(row["config"], row["seed"]) for row in kept.read("seeds")}:
            kept.add("seeds", row)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        files = list(pool.map(lambda seed: keep(args.config, seed, args.jobs), args.seeds))
    curves = [curve(file) for file in files]
    from tests.benchmarks import tables  # which imports this

    print(tables.accuracy(kept.read))
    print("mean training loss x 938, mean of the seeds:")
    for epoch in (*range(4), *range(-3, 0)):
        losses = [TUTORIAL_BATCHES * float(rows[epoch]["train/loss"]) for rows in curves]
        print(f"  epoch {curves[0][epoch]['epoch']}: {statistics.mean(losses):.4f}")


if __name__ == "__main__":
    main()
