"""Time to an accuracy: whole runs of a fixed length beside the tutorial's own 50 epochs, seed by seed.

    python -m tests.benchmarks.targets

For each of ten seeds: five epochs of the tutorial's loop, then a `fit` to each target, and of default.yaml, as a user
runs them, in processes of their own, so that a machine that is slow for a while is slow for all. The lengths were
chosen on validation digits; each run opens the test set once, at its end. What is finished is kept in
runs/benchmarks/targets.json and not done again.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lenet_lightning.data.download import fetch
from lenet_lightning.data.files import TRAIN_SIZE
from tests.benchmarks import kept
from tests.benchmarks.throughput import tutorial_loop

CONFIGS = Path(__file__).parents[2] / "configs"
TUTORIAL_EPOCHS, TUTORIAL_BATCH = 50, 64
SEEDS = range(1, 11)
# what each run is for: the config and its options
RUNS = {
    "98.75": ("fast.yaml",),
    "99.0": ("fast.yaml", "--trainer.max_epochs=2"),
    "99.3": (
        "fast.yaml",
        "--trainer.max_epochs=5",
        "--data.batch_size=128",
        "--model.optimizer.lr=0.012",
        "--averaging=0.99",
        "--data.distortion.rotation=7",
        "--data.distortion.scale=0.07",
        "--data.distortion.shift=1",
        "--data.distortion.shear=0.07",
        "--data.distortion.elastic=0.4",
    ),
    "default": ("default.yaml",),
}


def fit(seed: int, config: str, *options: str) -> dict[str, Any]:
    """Run `fit` in a process; give its accuracies in % and its seconds."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "lenet_lightning", "fit", "--config", str(CONFIGS / config), *options]
        settings = [f"--seed_everything={seed}", f"--trainer.default_root_dir={runs}"]
        started = time.perf_counter()
        subprocess.run([*command, *settings], check=True, env=os.environ | {"WANDB_MODE": "offline"})
        process_s = time.perf_counter() - started
        (file,) = Path(runs).glob("2*/results.json")
        results = json.loads(file.read_text())
        with (file.parent / "metrics.csv").open() as metrics:
            validated = [float(row["val/acc"]) for row in csv.DictReader(metrics) if row["val/acc"]]
    return {
        "test_acc": round(100 * results["test/acc"], 4),
        "val_acc": round(100 * max(validated), 4),
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
    for seed in SEEDS:
        if ("tutorial", seed) not in done:
            epochs = TUTORIAL_EPOCHS // len(SEEDS)
            seconds = [TRAIN_SIZE / tutorial_loop(args.root, TUTORIAL_BATCH) for _ in range(epochs)]
            kept.add("targets", {"run": "tutorial", "seed": seed, "epoch_s": [round(each, 3) for each in seconds]})
        for run in args.runs:
            config, *options = RUNS[run]
            if (run, seed) not in done:
                kept.add("targets", {"run": run, "seed": seed, "config": config} | fit(seed, config, *options))

    from tests.benchmarks import tables  # which imports this

    print(tables.targets(kept.read))


if __name__ == "__main__":
    main()
