"""The stages of a network as they are shown: how their units are laid out, and what these depend on."""

from typing import NamedTuple

import torch

from lenet_lightning.networks import LeNet
from lenet_lightning.networks.receptive import ReceptiveField, Window, receptive_fields

TIMES = "\N{MULTIPLICATION SIGN}"

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
    before = ["the image", *(name for name, _ in shapes)]
    stages = [
        Stage(name, _laid_out(*shape), fields.get(name), _text(source, network.WINDOWS.get(name), fields.get(name)))
        for (name, shape), source in zip(shapes, before, strict=False)
    ]
    return [*stages[:-1], stages[-1]._replace(text="ten logits: the largest is the prediction")]


def _laid_out(maps: int, *sides: int) -> tuple[int, int, int]:
    if sides:
        return maps, sides[0], sides[1]
    rows = ROWS.get(maps, 1)
    return 1, rows, maps // rows


def _text(before: str, window: Window | None, field: ReceptiveField | None) -> str:
    if window is None or field is None:
        return f"each unit reads all of {before}"
    square = f"{window.kernel} {TIMES} {window.kernel}"
    if field.size == window.kernel:
        return f"each unit reads {square} pixels of {before}"
    maps = "a map" if window.stride > 1 else "maps"
    return f"each unit reads {square} units of {maps} in {before}, {field.size} {TIMES} {field.size} pixels in all"
