"""Time to an accuracy: whole runs of a fixed length beside the tutorial's own 50 epochs, seed by seed.

    python -m tests.benchmarks.targets

Seed by seed: five epochs of the tutorial's loop, then a `fit` to each target, as a user runs it, in a process of its
own, so that a machine that is slow for a while is slow for all. The recipes and their lengths were chosen on
validation samples; each run opens the test set once, at its end. The runs are kept in runs/targets/, their figures in
runs/benchmarks/targets.json; what is finished is not done again.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lenet_lightning.data.download import fetch
from lenet_lightning.data.files import TRAIN_SIZE
from tests.benchmarks import kept
from tests.benchmarks.throughput import tutorial_loop

CONFIGS = Path(__file__).parents[2] / "configs"
TUTORIAL_EPOCHS, TUTORIAL_BATCH = 50, 64
# how many seeds each run has, from 1; the tutorial's epochs are shared out over the most
SEEDS = {"98.75": 10, "99.0": 5, "99.3": 5, "99.5": 10, "99.6": 5}
# what each run is for, test accuracy in %: the config and its options
RUNS = {
    "98.75": ("fast.yaml",),
    "99.0": ("fast.yaml", "--trainer.max_epochs=2"),
    "99.3": ("default.yaml", "--trainer.max_epochs=6"),
    "99.5": ("default.yaml",),
    "99.6": ("record.yaml",),
}


def fit(run: str, seed: int) -> dict[str, Any]:
    """Run `fit` in a process; give its accuracies in % and its seconds."""
    config, *options = RUNS[run]
    folder = Path("runs/targets", run, str(seed))
    shutil.rmtree(folder, ignore_errors=True)  # of one that was interrupted: its seconds would not be those of a whole
    command = [sys.executable, "-m", "lenet_lightning", "fit", "--config", str(CONFIGS / config), *options]
    settings = [f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}"]
    started = time.perf_counter()
    subprocess.run([*command, *settings], check=True, env=os.environ | {"WANDB_MODE": "offline"})
    process_s = time.perf_counter() - started
    (file,) = folder.glob("2*/results.json")
    results = json.loads(file.read_text())
    with (file.parent / "metrics.csv").open() as metrics:
        validated = [float(row["val/acc"]) for row in csv.DictReader(metrics) if row.get("val/acc")]
    return {
        "test_acc": round(100 * results["test/acc"], 4),
        "val_acc": round(100 * max(validated), 4) if validated else None,
        "epochs": results["epochs"],
        "train_s": results["train_seconds"],
        "process_s": round(process_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    args = parser.parse_args()
    fetch(args.root)
    done = {(row["run"], row["seed"]) for row in kept.read("targets")}
    most = max(SEEDS.values())
    for seed in range(1, most + 1):
        if ("tutorial", seed) not in done:
            epochs = TUTORIAL_EPOCHS // most
            seconds = [TRAIN_SIZE / tutorial_loop(args.root, TUTORIAL_BATCH) for _ in range(epochs)]
            kept.add("targets", {"run": "tutorial", "seed": seed, "epoch_s": [round(each, 3) for each in seconds]})
        for run in args.runs:
            if seed <= SEEDS[run] and (run, seed) not in done:
                kept.add("targets", {"run": run, "seed": seed, "config": RUNS[run][0]} | fit(run, seed))

    from tests.benchmarks import tables  # which imports this

    print(tables.targets(kept.read))


if __name__ == "__main__":
    main()
