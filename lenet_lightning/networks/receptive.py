"""Receptive fields: which pixels of the input a unit can depend on."""

from collections.abc import Mapping
from typing import NamedTuple


class Window(NamedTuple):
    """What a unit of a convolution or a subsampling reads of the stage before it: a square, the same in all maps.

    Attributes:
        kernel: its side, in units of that stage.
        stride: how far the squares of two neighbours are apart.
        padding: how many rows and columns are added to that stage on each side.
    """

    kernel: int
    stride: int = 1
    padding: int = 0


class ReceptiveField(NamedTuple):
    """The square of input pixels that a unit of a stage depends on; what is outside the image is padding.

    Attributes:
        start: first row (and column) of the unit in row (column) 0, in pixels; negative if that is padding.
        step: how many pixels further it is for the next unit.
        size: its side, in pixels.
    """

    start: int
    step: int
    size: int


def receptive_fields(windows: Mapping[str, Window]) -> dict[str, ReceptiveField]:
    """Return the receptive field of each stage, given the windows of all stages from the input on, in order.

    >>> receptive_fields({"C1": Window(5, padding=2), "S2": Window(2, stride=2)})["S2"]
    ReceptiveField(start=-2, step=2, size=6)
    """
    fields, before = {}, ReceptiveField(start=0, step=1, size=1)
    for name, (kernel, stride, padding) in windows.items():
        before = ReceptiveField(
            before.start - padding * before.step, before.step * stride, before.size + (kernel - 1) * before.step
        )
        fields[name] = before
    return fields
