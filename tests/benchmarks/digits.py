"""Test accuracy by the number of training digits: how many are needed.

    python -m tests.benchmarks.digits

`fit default.yaml` over the same number of steps for each, in a process of its own; the last epoch counts, as nothing is
kept for validation. Kept in runs/benchmarks/digits.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lenet_lightning.data.files import TRAIN_SIZE
from tests.benchmarks import kept

DIGITS = (100, 300, 1_000, 3_000, 10_000, 30_000, 60_000)
STEPS, BATCH = 1_500, 250


def accuracy(digits: int, seed: int, *options: str) -> float:
    """Train on so many digits, drawn anew for each seed; return the test accuracy, %."""
    batch = min(BATCH, digits // 4)
    settings = {
        "seed_everything": seed,
        "data.split_seed": seed,
        "data.val_size": TRAIN_SIZE - digits,
        "data.batch_size": batch,
        "trainer.max_epochs": round(STEPS * batch / digits),
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "pictures": "false",
    }
    with tempfile.TemporaryDirectory() as runs:
        given = [f"--{name}={value}" for name, value in settings.items()]
        fit = [sys.executable, "-m", "lenet_lightning", "fit", "--config", "configs/default.yaml", *given, *options]
        subprocess.run([*fit, f"--trainer.default_root_dir={runs}"], check=True, stdout=subprocess.DEVNULL)
        (results,) = Path(runs).glob("2*/results.json")
        return round(100 * json.loads(results.read_text())["test/acc"], 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    args, options = parser.parse_known_args()
    os.environ.setdefault("WANDB_MODE", "disabled")
    done = {(row["seed"], row["digits"]) for row in kept.read("digits")}
    for seed in args.seeds:
        for digits in DIGITS:
            if (seed, digits) not in done:
                kept.add("digits", {"seed": seed, "digits": digits, "test_acc": accuracy(digits, seed, *options)})
                print(kept.read("digits")[-1]["test_acc"], digits, seed, flush=True)


if __name__ == "__main__":
    main()
