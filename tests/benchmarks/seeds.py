"""A config's test accuracy over several preset seeds: the figures of README's results table.

    python -m tests.benchmarks.seeds configs/default.yaml

Each seed is a whole `fit` in a process of its own; a seed that is finished is kept in runs/seeds-<config>/ and not
trained again, one that was stopped goes on with its last epoch, so that hours of work can be stopped and gone on with.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

TUTORIAL_BATCHES = 938  # of 64 in its 60,000; its author prints the sum of an epoch's losses over them


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


def spread(values: list[float]) -> str:
    return f"mean {statistics.mean(values):.2f}, sd {statistics.stdev(values):.2f}, n {len(values)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    args = parser.parse_args()
    files = [train(args.config, seed) for seed in args.seeds]
    results = [json.loads(file.read_text()) for file in files]
    curves = [list(csv.DictReader((file.parent / "metrics.csv").read_text().splitlines())) for file in files]

    accuracies = [100 * result["test/acc"] for result in results]
    print(f"\n{args.config}, {len(curves[0])} epochs, seeds {args.seeds}")
    print(f"test accuracy in %: {spread(accuracies)}, min {min(accuracies):.2f}: {[round(a, 2) for a in accuracies]}")
    print(f"validation accuracy in %: {spread([100 * max(float(row['val/acc']) for row in rows) for rows in curves])}")
    print(f"best epochs: {[result['best_epoch'] for result in results]}")
    print(f"training seconds: {spread([result['train_seconds'] for result in results])}")
    print("mean training loss x 938, mean of the seeds:")
    for epoch in (*range(4), *range(-3, 0)):
        losses = [TUTORIAL_BATCHES * float(rows[epoch]["train/loss"]) for rows in curves]
        accuracy = 100 * statistics.mean(float(rows[epoch]["val/acc"]) for rows in curves)
        print(f"  epoch {curves[0][epoch]['epoch']}: {statistics.mean(losses):.4f}  (validation {accuracy:.2f} %)")
    print(json.dumps({name: results[0][name] for name in ("device", "processor", "threads", "versions")}))


if __name__ == "__main__":
    main()
