"""Others' MNIST recipes, written from their descriptions: seconds, accuracy and parameters on this machine.

    python -m tests.benchmarks.peers

Round after round a training of each, alone in its process. What reads the data is theirs, too: most transform sample
by sample, as torchvision does. The test set is read after each epoch where a recipe stops at an accuracy, else at its
end; its time does not count. What is finished is kept in runs/benchmarks/peers.json and not done again.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

from lenet_lightning import LeNet5
from lenet_lightning.data.download import fetch
from tests.benchmarks import kept

ROUNDS = 3


@dataclass(frozen=True)
class Peer:
    """A recipe.

    Attributes:
        what: of the network.
        network: makes it.
        batch_size: samples of a step.
        epochs: at most.
        optimizer: of the network's parameters.
        schedule: of the optimizer and the steps of an epoch; None if the learning rate is constant.
        per_step: whether the schedule moves after each step, not after each epoch.
        samples: it trains on.
        resident: whether the data are one tensor that is normalised beforehand, else transformed sample by sample.
        normalised: whether by MNIST's mean and standard deviation.
        until: the test accuracy after which it stops.
    """

    what: str
    network: Callable[[], nn.Module]
    batch_size: int
    epochs: int
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    per_step: bool = False
    samples: int = 60_000
    resident: bool = False
    normalised: bool = True
    until: float = math.inf


def wide_convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


def small_convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


def hidden_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10), nn.ReLU())


def three_hidden_layers() -> nn.Module:
    sizes = (784, 64, 128, 64)
    layers = [
        layer
        for size, following in pairwise(sizes)
        for layer in (nn.Linear(size, following), nn.BatchNorm1d(following), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))


PEERS = {
    "pytorch/examples, mnist, to 99 %": Peer(
        "2 convolutions, dropout",
        wide_convolutions,
        batch_size=64,
        epochs=14,
        optimizer=lambda parameters: torch.optim.Adadelta(parameters, lr=1.0),
        schedule=lambda optimizer, _: StepLR(optimizer, 1, 0.7),
        until=0.99,
    ),
    "Lightning's image classifier": Peer(
        "a hidden layer",
        hidden_layer,
        batch_size=32,
        epochs=50,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
        samples=55_000,
        normalised=False,
    ),
    "lightning-hydra-template": Peer(
        "3 hidden layers, batch norm",
        three_hidden_layers,
        batch_size=128,
        epochs=10,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        samples=55_000,
    ),
    "train_mnist_fast": Peer(
        "2 convolutions",
        small_convolutions,
        batch_size=256,
        epochs=1,
        optimizer=lambda parameters: torch.optim.Adam(parameters, betas=(0.7, 0.9)),
        schedule=lambda optimizer, steps: OneCycleLR(optimizer, 0.01, steps, cycle_momentum=False),
        per_step=True,
        resident=True,
    ),
}


def whole(dataset: MNIST, samples: int, normalised: bool) -> tuple[Tensor, Tensor]:
    """Return the first samples as one tensor."""
    images = dataset.data[:samples].unsqueeze(1).float().div_(255)
    return images.sub_(LeNet5.MEAN).div_(LeNet5.STD) if normalised else images, dataset.targets[:samples]


def batches(peer: Peer, root: Path) -> Iterable[tuple[Tensor, Tensor]]:
    """Return what gives the batches of an epoch each time."""
    if peer.resident:
        images, labels = whole(MNIST(str(root)), peer.samples, peer.normalised)
        return list(zip(images.split(peer.batch_size), labels.split(peer.batch_size), strict=True))
    steps = [transforms.ToTensor()]
    if peer.normalised:
        steps.append(transforms.Normalize((LeNet5.MEAN,), (LeNet5.STD,)))
    dataset = Subset(MNIST(str(root), transform=transforms.Compose(steps)), range(peer.samples))
    return DataLoader(dataset, peer.batch_size, shuffle=True)


@torch.inference_mode()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    logits = torch.cat([network(some) for some in images.split(1000)])
    network.train()
    return (logits.argmax(1) == labels).float().mean().item()


def train(peer: Peer, root: Path, seed: int) -> dict[str, Any]:
    """Train as the peer does; give the accuracy in %, the seconds of training and the parameters."""
    torch.manual_seed(seed)
    network = peer.network()
    optimizer = peer.optimizer(network.parameters())
    epoch = batches(peer, root)
    schedule = peer.schedule(optimizer, len(epoch)) if peer.schedule else None
    test = whole(MNIST(str(root), train=False), 10_000, peer.normalised)
    seconds, done, reached = 0.0, 0, 0.0
    while done < peer.epochs and reached < peer.until:
        started = time.perf_counter()
        for images, labels in epoch:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            if schedule and peer.per_step:
                schedule.step()
        if schedule and not peer.per_step:
            schedule.step()
        seconds += time.perf_counter() - started
        done += 1
        if done == peer.epochs or math.isfinite(peer.until):
            reached = accuracy(network, *test)
    parameters = sum(each.numel() for each in network.parameters())
    return {
        "test_acc": round(100 * reached, 2),
        "train_s": round(seconds, 2),
        "epochs": done,
        "parameters": parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs=2, metavar=("PEER", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        name, seed = args.only
        print(json.dumps(train(PEERS[name], args.root, int(seed))))
        return
    fetch(args.root)
    done = {(row["peer"], row["seed"]) for row in kept.read("peers")}
    for seed in range(1, args.rounds + 1):
        for name in PEERS:
            if (name, seed) not in done:
                alone = [sys.executable, "-m", __spec__.name, "--root", str(args.root), "--only", name, str(seed)]
                row = json.loads(subprocess.check_output(alone))
                kept.add("peers", {"peer": name, "what": PEERS[name].what, "seed": seed} | row)
    from tests.benchmarks import tables  # which imports this

    print(tables.peers(kept.read))


if __name__ == "__main__":
    main()
