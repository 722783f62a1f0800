"""How the time of our `fit` grows with epochs and digits.

    python -m tests.benchmarks.growth

`fit tutorial.yaml` in batches of 256, round after round; kept in runs/benchmarks/growth.json.
"""

import argparse
import os
from pathlib import Path

from lenet_lightning.data.download import fetch
from lenet_lightning.data.files import TRAIN_SIZE
from tests.benchmarks import kept
from tests.benchmarks.throughput import fit

EPOCHS = (1, 2, 4, 8)
DIGITS = (6_875, 13_750, 27_500, 55_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    fetch(args.root)
    done = {(row["round"], row["epochs"], row["digits"]) for row in kept.read("growth")}
    sizes = [*((epochs, DIGITS[-1]) for epochs in EPOCHS), *((1, digits) for digits in DIGITS[:-1])]
    for number in range(1, args.rounds + 1):
        for epochs, digits in sizes:
            if (number, epochs, digits) in done:
                continue
            settings = {
                "trainer.max_epochs": epochs,
                "data.val_size": TRAIN_SIZE - digits,
                "data.batch_size": 256,
            }
            rows = fit(args.root, "tutorial.yaml", *(f"--{name}={value}" for name, value in settings.items()))
            seconds = round(sum(float(row["time/epoch_s"]) for row in rows), 3)
            kept.add("growth", {"round": number, "epochs": epochs, "digits": digits, "train_s": seconds})

    from tests.benchmarks import tables  # which imports this

    print(tables.growth(kept.read))


if __name__ == "__main__":
    main()
