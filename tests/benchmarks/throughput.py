"""Training throughput: the tutorial's loop, the Trainer over its DataLoader, a bare loop, ours, and ours compiled.

    python -m tests.benchmarks.throughput

An epoch of each in turn, round after round, so that a machine that is slow for a while is slow for all; in batches of
64, 256 and 1024, with one thread and with two. Those that need a quarter of a minute for an epoch take part in every
third round. Each figure is kept in runs/benchmarks/throughput.json at once, and not taken again.
"""

import argparse
import contextlib
import csv
import io
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning import Trainer
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from lenet_lightning import DigitClassifier, LeNet5
from lenet_lightning.data.download import fetch
from lenet_lightning.training import cli, process
from tests.benchmarks import kept

CONFIGS = Path(__file__).parents[2] / "configs"
BATCH_SIZES = (64, 256, 1024)
THREADS = (1, 2)
TUTORIAL_LR, TUTORIAL_MOMENTUM = 0.001, 0.9


def tutorial_loader(root: Path, batch_size: int) -> DataLoader:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((LeNet5.MEAN,), (LeNet5.STD,))])
    return DataLoader(MNIST(str(root), transform=transform), batch_size, shuffle=True, num_workers=2)


def tutorial_loop(root: Path, batch_size: int) -> float:
    """The tutorial's epoch: torchvision's transforms digit by digit, two workers. Images per second."""
    network = torch_network()
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


def torch_network() -> LeNet5:
    """LeNet-5 with torch's own pooling, as the tutorial has it."""
    network = LeNet5()
    network.pool1 = network.pool2 = torch.nn.AvgPool2d(2)
    return network


def trainer_over_loader(root: Path, batch_size: int) -> float:
    """Lightning's Trainer, with nothing else on, over the tutorial's DataLoader and network."""

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    model, loader = DigitClassifier(), tutorial_loader(root, batch_size)
    model.network.pool1 = model.network.pool2 = torch.nn.AvgPool2d(2)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(model, loader)
    return trainer.callback_metrics["time/images_per_s"].item()


@process.tuned()  # as our command is
def bare_loop(root: Path, batch_size: int) -> float:
    """A loop in plain PyTorch over our network and tensors that are normalised and in memory beforehand."""
    mnist = MNIST(str(root))
    images = mnist.data[:55_000].unsqueeze(1).float().div(255).sub(LeNet5.MEAN).div(LeNet5.STD)
    labels = mnist.targets[:55_000]
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


def ours(root: Path, batch_size: int, *options: str) -> float:
    """The epoch of our `fit tutorial.yaml`."""
    settings = ["--trainer.max_epochs", "1", "--data.batch_size", str(batch_size), *options]
    return float(fit(root, "tutorial.yaml", *settings)[-1]["time/images_per_s"])


def ours_compiled(root: Path, batch_size: int) -> float:
    """The second epoch of our `fit tutorial.yaml`, compiled in the first."""
    return ours(root, batch_size, "--model.compile", "true", "--trainer.max_epochs", "2")


TUTORIAL, TRAINER, BARE, OURS, COMPILED = (
    "the tutorial's loop (torchvision transforms, 2 workers)",
    "Lightning's Trainer over the same DataLoader",
    "a bare PyTorch loop over tensors in memory",
    "our `fit`, Trainer, logging and all",
    "our `fit`, compiled",
)
LOOPS: dict[str, Callable[[Path, int], float]] = {
    TUTORIAL: tutorial_loop,
    TRAINER: trainer_over_loader,
    BARE: bare_loop,
    OURS: ours,
    COMPILED: ours_compiled,
}
SLOW = (TUTORIAL, TRAINER, COMPILED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    names = [loop.__name__ for loop in LOOPS.values()]
    parser.add_argument("--loops", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    fetch(args.root)
    done = {tuple(row[key] for key in ("round", "loop", "batch_size", "threads")) for row in kept.read("throughput")}
    for number in range(1, args.rounds + 1):
        loops = {name: loop for name, loop in LOOPS.items() if name not in SLOW or number % 3 == 1}
        for threads in args.threads:
            torch.set_num_threads(threads)
            for batch_size in args.batch_sizes:
                for name, loop in loops.items():
                    if loop.__name__ not in args.loops or (number, name, batch_size, threads) in done:
                        continue
                    row = {"round": number, "loop": name, "batch_size": batch_size, "threads": threads}
                    kept.add("throughput", row | {"images_per_s": round(loop(args.root, batch_size))})
    from tests.benchmarks import tables  # which imports this

    print(tables.throughput(kept.read))


if __name__ == "__main__":
    main()
