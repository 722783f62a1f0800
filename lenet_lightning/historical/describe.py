"""The sizes of the networks: layers, shapes, parameters, connections, multiply-accumulates."""

import sys
from dataclasses import dataclass

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lenet_lightning.arguments import Parser
from lenet_lightning.networks import NETWORKS
from lenet_lightning.networks.layers import EuclideanRBF, SparseConv2d, Subsampling

TITLES = {
    "lenet5": "LeNet-5 as the tutorials teach it",
    "lenet5_1998": "LeNet-5 of 1998",
    "lenet1": "LeNet-1 of 1989",
}

# what is published of each: parameters, connections, multiply-accumulates; the last are rounded by the authors
PUBLISHED = {
    "lenet5": ("tutorial", 61_706, None, None),
    "lenet5_1998": ("paper", 60_000, 340_908, 401_000),
    "lenet1": ("paper", 2_578, 98_442, 100_000),
}


@dataclass(frozen=True)
class Layer:
    """A layer that has connections.

    Attributes:
        name: the network's attribute.
        shape: of its output for one image.
        parameters: the trainable ones.
        connections: inputs of all its units, biases among them, as the paper counts.
        multiplications: by weights, for one image, each with its addition.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    connections: int
    multiplications: int


def layers(network: nn.Module) -> list[Layer]:
    """Return the layers of a network in the order in which an image passes them, counted in a forward pass."""
    passed: list[Layer] = []

    def count(name: str, layer: nn.Module, units: Tensor) -> None:
        parameters = sum(p.numel() for p in layer.parameters())
        if isinstance(layer, nn.Conv2d | SparseConv2d | nn.Linear):
            places = units[0, 0].numel()
            connections, multiplications = places * parameters, places * layer.weight.numel()
        elif isinstance(layer, Subsampling | nn.AvgPool2d):
            trainable = isinstance(layer, Subsampling)
            connections, multiplications = (4 + trainable) * units.numel(), trainable * units.numel()
        elif isinstance(layer, EuclideanRBF) and name == "output":  # LeNet-1's targets are no layer of the paper
            connections = multiplications = layer.codes.numel()
        else:
            return
        passed.append(Layer(name, tuple(units.shape[1:]), parameters, connections, multiplications))

    hooks = [
        layer.register_forward_hook(lambda layer, _, units, name=name: count(name, layer, units))
        for name, layer in network.named_children()
    ]
    with torch.no_grad():
        network(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    return passed


def main(args: list[str]) -> int:
    """Print the layers of a network: shapes, parameters, connections, multiply-accumulates, beside published counts.

    Raises:
        UsageError: there is no such network.
    """
    parser = Parser("describe", main.__doc__)
    parser.add_argument("--network", choices=tuple(NETWORKS), help="which one (default: all)")
    wanted = parser.parse_args(args).network
    console = Console(file=sys.stdout, width=88, highlight=False)
    for name in [wanted] if wanted else NETWORKS:
        console.print(_table(name))
    console.print("Connections count biases; a multiply-accumulate is one multiplication by a weight, for one image.")
    console.print("The authors do not say how they count operations; their numbers are rounded.")
    return 0


def _table(name: str) -> Table:
    passed = layers(NETWORKS[name]())
    table = Table(title=f"{TITLES[name]} ({name})", title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for column in ("layer", "output", "parameters", "connections", "multiply-accumulates"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for each in passed:
        # maps as the paper writes them
        shape = f"{each.shape[0]}@{each.shape[1]}x{each.shape[2]}" if len(each.shape) == 3 else f"{each.shape[0]}"
        counts = (each.parameters, each.connections, each.multiplications)
        table.add_row(each.name, shape, *(f"{count:,}" for count in counts))
    table.add_section()
    totals = (sum(getattr(each, name) for each in passed) for name in ("parameters", "connections", "multiplications"))
    table.add_row("all", "", *(f"{total:,}" for total in totals), style="bold")
    where, *published = PUBLISHED[name]
    table.add_row(where, "", *("" if count is None else f"{count:,}" for count in published))
    return table
