"""Training speed beside the tutorial's loop, the Trainer over its DataLoader and a bare loop. Run by `make bench`.

One epoch of each in turn, several times over, so that a machine that is slow for a while is slow for all; medians of
the repeats, and ratios of those. Exits with 1 when over a bound.
"""

import argparse
import contextlib
import csv
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from lightning import Trainer
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from lenet_lightning import DigitClassifier, LeNet5
from lenet_lightning.data import source
from lenet_lightning.training import cli

CONFIGS = Path(__file__).parents[2] / "configs"
TUTORIAL_LR, TUTORIAL_MOMENTUM = 0.001, 0.9


def tutorial_loader(root: Path, batch_size: int) -> DataLoader:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((source.MEAN,), (source.STD,))])
    return DataLoader(MNIST(str(root), transform=transform), batch_size, shuffle=True, num_workers=2)


def tutorial_loop(root: Path, batch_size: int) -> float:
    """The tutorial's epoch: torchvision's transforms digit by digit, two workers. Images per second."""
    network = LeNet5()
    optimizer = torch.optim.SGD(network.parameters(), lr=TUTORIAL_LR, momentum=TUTORIAL_MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    loader = tutorial_loader(root, batch_size)
    loss_sum = 0.0
    started = time.perf_counter()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item()
    return len(loader.dataset) / (time.perf_counter() - started)


def trainer_over_loader(root: Path, batch_size: int) -> float:
    """Lightning's Trainer, with nothing else on, over the tutorial's DataLoader."""

    class Timed(DigitClassifier):
        def on_train_epoch_end(self) -> None:
            self.images_per_s = self._count / (self._stopped - self._started)

    model = Timed()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, tutorial_loader(root, batch_size))
    return model.images_per_s


def bare_loop(root: Path, batch_size: int) -> float:
    """A loop in plain PyTorch over tensors that are normalised and in memory beforehand."""
    files = MNIST(str(root))
    images = files.data[:55_000].unsqueeze(1).float().div(255).sub(source.MEAN).div(source.STD)
    labels = files.targets[:55_000]
    network = LeNet5()
    optimizer = torch.optim.SGD(network.parameters(), lr=TUTORIAL_LR, momentum=TUTORIAL_MOMENTUM)
    started = time.perf_counter()
    for batch in torch.randperm(len(labels)).split(batch_size):
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    return len(labels) / (time.perf_counter() - started)


def fit(root: Path, config: str, *options: str) -> list[dict[str, str]]:
    """Our `fit` as a user runs it, logging and all, without the test; the rows of its metrics.csv."""
    with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stdout(io.StringIO()):
        places = ["--data.root", str(root), "--trainer.default_root_dir", runs, "--trainer.limit_test_batches", "0"]
        cli.main(["fit", "--config", str(CONFIGS / config), *places, *options])
        (metrics,) = Path(runs).glob("20*/metrics.csv")
        return list(csv.DictReader(metrics.read_text().splitlines()))


def ours(root: Path, batch_size: int) -> float:
    (row,) = fit(root, "tutorial.yaml", "--trainer.max_epochs", "1", "--data.batch_size", str(batch_size))
    return float(row["time/images_per_s"])


CONTENDERS: dict[str, Callable[[Path, int], float]] = {
    "tutorial loop": tutorial_loop,
    "Trainer over its DataLoader": trainer_over_loader,
    "bare loop, resident tensors": bare_loop,
    "ours: fit tutorial.yaml": ours,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--root", type=Path, default=Path("data"))
    args = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    source.fetch(args.root)

    speed: dict[tuple[str, int], float] = {}
    for batch_size in (64, 256):
        seen: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for repeat in range(args.repeats):
            for name, epoch in CONTENDERS.items():
                seen[name].append(epoch(args.root, batch_size))
            print(f"batch {batch_size}: repeat {repeat + 1} of {args.repeats} done", file=sys.stderr, flush=True)
        speed |= {(name, batch_size): statistics.median(values) for name, values in seen.items()}
    rows = fit(args.root, "default.yaml")
    default_s = sum(float(row["time/epoch_s"]) for row in rows)

    table = Table(title="Training, images per second (medians)")
    table.add_column("")
    for batch_size in (64, 256):
        table.add_column(f"batch {batch_size}", justify="right")
        table.add_column("times bare", justify="right")
    for name in CONTENDERS:
        cells = []
        for batch_size in (64, 256):
            ratio = speed["bare loop, resident tensors", batch_size] / speed[name, batch_size]
            cells += [f"{speed[name, batch_size]:,.0f}", f"{ratio:.2f}"]
        table.add_row(name, *cells)
    console = Console(width=100)
    console.print(table)

    bare, mine, tutorial = "bare loop, resident tensors", "ours: fit tutorial.yaml", "tutorial loop"
    tutorial_epoch_s = 60_000 / speed[tutorial, 64]
    bounds = [
        ("time of ours over bare, batch 64", speed[bare, 64] / speed[mine, 64], "at most", 1.30),
        ("time of ours over bare, batch 256", speed[bare, 256] / speed[mine, 256], "at most", 1.15),
        ("speed of ours over the tutorial's, batch 64", speed[mine, 64] / speed[tutorial, 64], "at least", 2.0),
        (
            f"all {len(rows)} epochs of default.yaml ({default_s:.0f} s) in the tutorial's epochs ({tutorial_epoch_s:.1f} s)",
            default_s / tutorial_epoch_s,
            "at most",
            6.0,
        ),
    ]
    failed = False
    for what, figure, rule, bound in bounds:
        holds = figure <= bound if rule == "at most" else figure >= bound
        failed |= not holds
        console.print(f"{'ok  ' if holds else 'OVER'} {what}: {figure:.2f} ({rule} {bound:.2f})")
    console.print(
        f"n = {args.repeats} interleaved; {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
