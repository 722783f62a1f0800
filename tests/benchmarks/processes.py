"""What a step takes in one and in two processes of this machine, and from that, on paper, on many machines.

    python -m tests.benchmarks.processes

`fit default.yaml`, three epochs of 100 steps in each way in turn, round after round, of which the quickest counts;
kept in runs/benchmarks/processes.json with the machine's load before it.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lenet_lightning.data.download import fetch
from tests.benchmarks import kept

STEPS = 100
# processes, threads of each, samples a step in each
ONE, THREADS, TWO = (1, 1, 256), (1, 2, 256), (2, 1, 128)
WAYS = (ONE, TWO, THREADS, (1, 1, 128), (1, 1, 32))


def step_ms(root: Path, processes: int, threads: int, batch_size: int) -> float:
    """Return the milliseconds of a step of the quickest epoch."""
    settings = {
        "config": kept.ROOT / "configs" / "default.yaml",
        "data.root": root.resolve(),
        "data.batch_size": batch_size,
        "trainer.accelerator": "cpu",
        "trainer.devices": processes,
        "trainer.max_epochs": 3,
        "trainer.limit_train_batches": STEPS,
        "trainer.limit_val_batches": 1,
        "trainer.limit_test_batches": 0,
        "trainer.logger": "lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
        "pictures": "false",
    }
    with tempfile.TemporaryDirectory() as runs:
        options = [f"--{name}={value}" for name, value in (settings | {"trainer.default_root_dir": runs}).items()]
        command = [sys.executable, "-m", "lenet_lightning", "fit", *options]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (metrics,) = Path(runs).glob("20*/metrics.csv")
        seconds = [float(row["time/epoch_s"]) for row in csv.DictReader(metrics.read_text().splitlines())]
    return round(1000 * min(seconds) / STEPS, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    fetch(args.root)
    done = {(row["round"], row["processes"], row["threads"], row["batch_size"]) for row in kept.read("processes")}
    for number in range(1, args.rounds + 1):
        for way in WAYS:
            if (number, *way) in done:
                continue
            row = {"round": number, **dict(zip(("processes", "threads", "batch_size"), way, strict=True))}
            row["load"] = round(os.getloadavg()[0], 2)
            kept.add("processes", row | {"step_ms": step_ms(args.root, *way)})

    from tests.benchmarks import tables  # which imports this

    print(tables.processes(kept.read))
    print(tables.machines(kept.read))


if __name__ == "__main__":
    main()
