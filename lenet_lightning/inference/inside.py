"""The stages of a network as they are shown: how their units are laid out, and what these depend on."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from lenet_lightning.networks import LeNet
from lenet_lightning.networks.receptive import ReceptiveField, Window, receptive_fields

# the rows in which the units of a layer without maps are shown; those of F6 are the bitmap that the paper makes of them
ROWS = {120: 10, 84: 12}


class Stage(NamedTuple):
    """One stage of a network.

    Attributes:
        name: as in the papers, e.g. C1.
        shape: maps, rows and columns; units without maps are one map.
        field: the receptive field of its units, None if it is the whole image.
        text: what its units do, as a phrase.
    """

    name: str
    shape: tuple[int, int, int]
    field: ReceptiveField | None
    text: str


def stages_of(network: LeNet) -> list[Stage]:
    """Return the stages of a network, in order; the last one's ten units are the logits."""
    with torch.inference_mode():
        shapes = [(name, tuple(units.shape[1:])) for name, units in network.stages(torch.zeros(1, 1, 28, 28)).items()]
    fields = receptive_fields(network.WINDOWS)
    texts = _texts([name for name, _ in shapes], network.WINDOWS)
    return [
        Stage(name, _laid_out(*shape), fields.get(name), text)
        for (name, shape), text in zip(shapes, texts, strict=True)
    ]


def _laid_out(maps: int, *sides: int) -> tuple[int, int, int]:
    if sides:
        return maps, sides[0], sides[1]
    rows = ROWS.get(maps, 1)
    return 1, rows, maps // rows


def _texts(names: list[str], windows: dict[str, Window]) -> Iterator[str]:
    for before, name in zip(["the image", *names], names, strict=False):
        if name == names[-1]:
            yield "ten logits: the largest is the prediction"
        elif name not in windows:
            yield f"each unit weighs all of {before}"
        elif windows[name].stride > 1:
            yield "each unit averages 2 × 2 units of one map"
        else:
            yield f"each unit weighs 5 × 5 units of {before}"
